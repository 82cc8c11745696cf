"""Measures this project beside other ways of doing the same: transport (`transport`) and training (`training`)."""
