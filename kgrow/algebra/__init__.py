"""Named axes, linear maps, expansions and plans; what keeps a function."""
