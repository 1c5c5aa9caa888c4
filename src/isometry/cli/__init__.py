"""Typer commands, one file a group: parse, call a job, print. No logic."""
