"""Memory snapshots: the state of a whole environment, saved at one moment and brought back in seconds."""
