"""`homelab node`: the machines of the lab. The group; each of its commands is in a file of its own."""

import click

from homelab.cli.nodehandle import drain, remove, undrain
from homelab.cli.nodelook import ls, show, top


@click.group()
def node() -> None:
    """The machines of the lab: what each has and who holds it; drain, remove."""


for command in (ls, show, top, drain, undrain, remove):
    node.add_command(command)
