"""What people have -> Arrow tables, curated, split, and made into pairs."""
