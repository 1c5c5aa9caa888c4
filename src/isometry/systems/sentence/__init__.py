"""Better text vectors: pooling, nesting, tasks, merging."""
