"""Training steps and rounds: `python -m benchmarks.training`."""
