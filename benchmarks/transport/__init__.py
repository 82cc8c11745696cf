"""Rounds without training, with this project and with other engines: `python -m benchmarks.transport`."""
