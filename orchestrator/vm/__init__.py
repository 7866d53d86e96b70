"""QEMU: its arguments, QMP, the accelerator, the user it runs as."""
