"""`homelab node`: the machines of the lab. Each command is in a file of its own, loaded when it is called."""

import importlib

import click

dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")

COMMANDS = {
    # name: module:attribute
    "ls": "homelab.cli.nodelook:ls",
    "show": "homelab.cli.nodelook:show",
    "top": "homelab.cli.nodelook:top",
    "token": "homelab.cli.nodejoin:token",
    "join": "homelab.cli.nodejoin:join",
    "leave": "homelab.cli.nodejoin:leave",
    "drain": "homelab.cli.nodehandle:drain",
    "undrain": "homelab.cli.nodehandle:undrain",
    "remove": "homelab.cli.nodehandle:remove",
    "wake": "homelab.cli.nodewake:wake",
}


class NodeGroup(click.Group):
    """Resolves a command by the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=NodeGroup)
def node() -> None:
    """The machines of the lab: let one join; what each has and who holds it; drain, remove."""
