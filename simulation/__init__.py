"""`make simulate`: hundreds of clients on one machine, by the app in `flower/` and Flower's engine."""
