"""The tutorial as a Flower app: the same tasks, model, settings, shards and records, on another engine."""
