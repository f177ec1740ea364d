"""Shared nouns and decisions: values in, values out. No I/O, no asyncio, no clock, no randomness."""
