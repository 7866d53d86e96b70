"""The kinds of faults, one module each: this folder is the list of them (`orchestrator.topology.fault_kind`)."""
