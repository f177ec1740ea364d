"""Alerts out: which events deserve one, what it says, and its durable delivery through apprise."""
