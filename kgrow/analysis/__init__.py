"""What a run cost, and what growing saved."""
