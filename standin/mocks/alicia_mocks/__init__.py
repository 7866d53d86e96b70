"""Stand-ins for the peers of Alicia: an OpenAI-like server and a LiveKit-like server.

Only the standard library is used, so that a mock starts quickly on an emulated
machine and runs beside any Alicia, the real one included.
"""
