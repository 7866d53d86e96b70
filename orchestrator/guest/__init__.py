"""What is done in a guest: its agent, SSH, files, terminals, tunnels, keys."""
