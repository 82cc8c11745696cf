"""Runs the whole tutorial from one command: a director, its envoys and the notebook.

It starts director and envoys by their own scripts and executes the notebook, as a person would.
"""
