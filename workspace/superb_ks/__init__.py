"""The data scientist's half of the tutorial, shipped to every node with each experiment.

The director imports this package as well, and has no need of PyTorch: import the modules one by one,
and keep this file free of imports.
"""
