"""Writes an experiment's records, while they come in, where other tools show them."""
