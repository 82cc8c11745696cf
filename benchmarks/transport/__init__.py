"""Rounds without training, beside other engines: `python -m benchmarks.transport`."""
