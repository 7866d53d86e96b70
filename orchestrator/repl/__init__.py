"""A prompt with the machines of an environment as objects; `orchestrator repl` opens it."""
