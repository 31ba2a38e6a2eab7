"""Token, patch and position embeddings."""
