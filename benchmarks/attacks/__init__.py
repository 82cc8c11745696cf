"""What each strategy survives when one or two of five envoys lie."""
