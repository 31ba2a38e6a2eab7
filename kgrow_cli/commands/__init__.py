"""The commands of `kgrow`, one a file."""
