"""Find the right text, cheaply."""
