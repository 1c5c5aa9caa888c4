"""What a trainer trains: encoders, heads and an objective behind one `loss(batch)`."""
