"""`GrowableModel`, and one growth of it: all or nothing."""
