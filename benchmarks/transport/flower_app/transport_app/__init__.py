"""The transport job for Flower, in the form of its own quickstart for PyTorch."""
