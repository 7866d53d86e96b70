"""The page of a run over HTTP on this host only: live while the run goes on, and with the files beside it."""
