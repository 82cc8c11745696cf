"""Certificates of a federation beyond one machine: an authority, and a key for every node."""
