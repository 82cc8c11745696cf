"""The tutorial's training as in Flower's quickstart."""
