"""How updates become the next model: one file a strategy."""
