"""Files of growable models."""
