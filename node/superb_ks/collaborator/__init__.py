"""Runs in the envoy while an experiment does: fetches models, runs the tasks, delivers what they return."""
