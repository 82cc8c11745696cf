"""What travels between collaborators and the aggregator."""
