"""What a growth does to the learning rate."""
