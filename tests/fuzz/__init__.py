"""Mutated messages and archives for the services: `python -m tests.fuzz`."""
