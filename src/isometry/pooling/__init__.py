"""A set of states (tokens, layers, sections, patches) -> one vector."""
