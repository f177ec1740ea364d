"""Runs things on one node: claim, wait for the instant, execute, record, report."""
