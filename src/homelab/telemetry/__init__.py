"""What we say about ourselves: structured logs and metrics. Imports nothing above core."""
