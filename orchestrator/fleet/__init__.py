"""Many runs as one: the cells of a matrix on this host or on several."""
