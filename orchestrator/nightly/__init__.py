"""Runs that nobody watches: what a night does, and what it says in the morning."""
