"""Short side runs that measure growth options."""
