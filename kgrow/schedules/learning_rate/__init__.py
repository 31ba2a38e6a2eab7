"""Learning rate policies at a growth."""
