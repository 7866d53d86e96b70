"""A run folder as one sequence in time: events, journals, consoles, logs of services, what the browser did."""
