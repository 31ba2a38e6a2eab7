"""Text: sources, tokenizers, random windows."""
