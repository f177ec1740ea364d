"""Processes on this machine: the supervisor and one file per service it can run."""
