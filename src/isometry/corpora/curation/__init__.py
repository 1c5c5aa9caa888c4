"""Scores and verdicts on rows."""
