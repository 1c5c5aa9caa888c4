"""How good an embedding space is, and how sure one may be of a difference."""
