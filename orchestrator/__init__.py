"""End-to-end tests on real virtual machines, outside the Nix sandbox."""

__version__ = "0.1.0"
