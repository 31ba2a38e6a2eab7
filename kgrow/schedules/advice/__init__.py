"""Published evidence, and advice drawn from it."""
