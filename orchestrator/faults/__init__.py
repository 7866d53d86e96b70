"""Faults: what happens to a system when the network, a disk, a machine, a service or the clock fails."""
