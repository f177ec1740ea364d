"""What this machine has and what is in use of it: one file a kind, each a thin reading and a pure interpretation.

A sensor that cannot be read says None, or leaves its field out: unknown, which is never zero. Nothing here decides
where work goes (`core.placement`) or writes anything. `sensing.Sensors` puts the kinds together for the heartbeat.
"""
