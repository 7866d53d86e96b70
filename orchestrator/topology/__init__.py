"""What an environment is made of: the model, the loader of ``orchestrator.toml``, the graph."""
