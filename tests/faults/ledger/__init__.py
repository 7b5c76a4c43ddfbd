"""A large day, tampered with by hand, and reconciled."""
