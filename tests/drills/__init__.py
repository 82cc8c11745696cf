"""Failures caused on purpose, and what must follow: `python -m tests.drills`."""
