"""Scores of a head -> what it says."""
