"""Networks on the host, and what a machine may reach outside."""
