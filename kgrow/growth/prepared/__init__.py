"""Compiles the steps of the next stage while the present one trains."""
