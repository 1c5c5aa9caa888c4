"""Closed-form maps and distances between sets of vectors."""
