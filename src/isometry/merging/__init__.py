"""Several state dicts -> one."""
