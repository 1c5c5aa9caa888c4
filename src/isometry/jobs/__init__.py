"""What a user asks for, one file a verb: each a readable sequence of steps."""
