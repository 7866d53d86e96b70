# A mocked language model; speech and voice are switched off.
{ alicia.e2e.variant = "minimal"; }
