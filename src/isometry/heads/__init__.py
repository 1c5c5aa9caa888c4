"""States or vectors -> logits, scores, or another space's vectors."""
