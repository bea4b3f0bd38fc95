"""Arrays to clean arrays."""
