"""The one training loop: what is in a batch, how much of it, and what follows what."""
