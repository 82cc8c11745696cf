"""How an envoy trains and scores a model on its clips. Knows nothing of OpenFL."""
