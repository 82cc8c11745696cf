"""The owner's approval: which experiments run on a node, and the command that answers."""
