"""Search a schedule by short runs."""
