"""Measures this project beside other ways of doing the same; see benchmarks/README.md."""
