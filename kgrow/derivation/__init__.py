"""Reading what can grow off a network's own computation."""

from kgrow.derivation.deriving import derive

__all__ = ["derive"]
