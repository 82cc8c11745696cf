"""What changes to recipes and strategies do, without a test clip: `python -m benchmarks.validation`."""
