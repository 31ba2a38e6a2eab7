"""A schedule that decides from measured loss rates when to grow."""
