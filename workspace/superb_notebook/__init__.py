"""What the notebooks use: connect, submit, follow, plot, save. It is never sent to a node."""
