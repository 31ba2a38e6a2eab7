"""Residual blocks and stacks of them."""
