"""Reads archive folders: which clips there are, whose they are, and their samples."""
