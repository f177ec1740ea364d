"""The command line: one file per command. Also where objects are wired together."""
