"""The cost of a run, and the saving by growing."""
