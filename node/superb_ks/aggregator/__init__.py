"""Runs in the director while an experiment does: takes in updates, makes the next model, keeps the round."""
