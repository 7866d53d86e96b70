# The real outside services. Their keys are pushed at run time; without them the backend does not start.
{ alicia.e2e.variant = "full"; }
