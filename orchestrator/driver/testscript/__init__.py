"""NixOS testScripts, run as they are on machines of a topology. docs/nixos-testscripts.md says what runs."""
