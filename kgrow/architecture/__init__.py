"""A network, the names of its axes, and the same network at another size."""
