"""A corpus of synthetic speech in the layout of Speech Commands."""
