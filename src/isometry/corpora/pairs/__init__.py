"""Documents -> training pairs."""
