"""Reads a Python script through its syntax tree, without running it: the files it opens, the commands it starts.

Strings and paths are followed through assignments, functions, classes, `argparse` and modules that lie beside the
script; everything else is unknown. Called by `core.commands.scripts`.
"""

from homelab.core.commands.python.reader import read_python

__all__ = ["read_python"]
