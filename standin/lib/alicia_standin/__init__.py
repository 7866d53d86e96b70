"""The stand-in Alicia: a server with the package layout and the HTTP contract of the real one."""

VERSION = "1.0.0"
