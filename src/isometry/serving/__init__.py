"""Spaces and encoders behind HTTP, for clients that people have."""
