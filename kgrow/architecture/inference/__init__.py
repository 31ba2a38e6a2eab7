"""Infer the axes of a network from a trace of its computation."""
