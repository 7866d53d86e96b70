"""The kinds of checks, one module each: this folder is the list of them (`orchestrator.topology.check_kind`)."""
