"""The next stage's steps, compiled beside the run that is to grow into it."""
