"""Grow optimizer state."""
