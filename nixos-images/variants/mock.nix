# Offline: the language model, speech and voice services are mocks in the machine itself.
{ alicia.e2e.variant = "mock"; }
