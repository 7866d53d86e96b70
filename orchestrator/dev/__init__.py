"""`orchestrator dev`: what is edited is brought into the running environment, and tested again."""
