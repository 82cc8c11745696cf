"""Which model is trained, how it is built and packed. Knows nothing of OpenFL."""
