"""One file a paper, grouped by family: data, arms and gates, and nothing that is reusable.

The modules directly in here are the harness that runs them; see CONTRIBUTING.md for how one is
added.
"""
