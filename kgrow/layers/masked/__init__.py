"""Layers that read gates."""
