"""Tables and stored vectors -> fewer bytes."""
