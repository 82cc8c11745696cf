"""Flower's engine here, measured beside others."""
