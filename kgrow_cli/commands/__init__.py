"""What the commands of `kgrow` do, one command a file."""
