"""What a host must have, what of it is missing, and how it is installed."""
