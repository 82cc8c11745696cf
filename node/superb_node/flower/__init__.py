"""Flower's programs: what is checked before they start, and its command line."""
