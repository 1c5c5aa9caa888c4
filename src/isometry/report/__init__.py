"""What people look at: the report, its plots, the model card, the summary on the terminal."""
