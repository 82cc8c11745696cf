"""Centralised, alone and federated, compared: `python -m benchmarks.compare`."""
