"""Tokenizers, and the embeddings of new tokens."""
