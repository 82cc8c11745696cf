"""Reads archive folders: their clips, classes, speakers and samples."""
