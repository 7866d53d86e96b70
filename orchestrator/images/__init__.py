"""Where machines' systems come from: providers, cache, and the contract of the run script."""
