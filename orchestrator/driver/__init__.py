"""The driver: environments and machines as objects. `orchestrator.api` and `orchestrator.sync` are made from it."""
