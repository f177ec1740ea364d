"""`homelab node`: the machines of the lab. The group; each of its commands is in a file of its own."""

import click

from homelab.cli.nodewake import wake


@click.group()
def node() -> None:
    """The machines of the lab."""


for command in (wake,):
    node.add_command(command)
