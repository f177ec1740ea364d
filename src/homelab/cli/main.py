"""The `homelab` command: a table of commands, each loaded only when it is called.

`--help` and completion read the table alone, so they load nothing heavy. Errors with a remedy are printed in one to
three lines and set the exit status of the contract; a traceback only appears with `--debug`.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from homelab import __version__
from homelab.core.errors import HomelabError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:attribute, one line for --help)
    "init": ("homelab.cli.init:init", "Write a first lab.toml from what this machine has."),
    "check": ("homelab.cli.check:check", "Validate a lab file; show every problem at once."),
    "up": ("homelab.cli.up:up", "Start everything and apply the lab file."),
    "plan": ("homelab.cli.plan:plan", "Show what apply would change in the running lab."),
    "apply": ("homelab.cli.plan:apply", "Change the running lab to match the lab file."),
    "status": ("homelab.cli.status:status", "Services, nodes and problems."),
    "down": ("homelab.cli.down:down", "Stop everything of this home, and nothing else."),
    "doctor": ("homelab.cli.doctor:doctor", "Check that this machine can run a lab."),
    "env": ("homelab.cli.env:env", "Print what a shell needs to use the lab's services."),
    "open": ("homelab.cli.open:open_", "Print (and open) a one-time link to the lab's pages."),
    "service": ("homelab.cli.service:service", "Start the lab at boot (systemd, launchd)."),
    "cron": ("homelab.cli.cron:cron", "Read, import and compare crontabs; carry jobs over and back."),
    "job": ("homelab.cli.job:job", "List, show, run, pause jobs; why one did not run."),
    "run": ("homelab.cli.run:run", "List, show, retry, cancel runs; their logs."),
    "place": ("homelab.cli.place:place", "Say on which node something would run, and why not elsewhere."),
    "simulate": ("homelab.cli.simulate:simulate", "How long work would wait on a fleet; what one more node changes."),
    "notify": ("homelab.cli.notify:notify", "Test and inspect notifications."),
    "token": ("homelab.cli.token:token", "Make and revoke access tokens."),
    "completion": ("homelab.cli.completion:completion", "Print shell completion for bash, zsh or fish."),
}
HIDDEN: dict[str, str] = {
    # roles: what the supervisor starts
    "control": "homelab.cli.roles:control",
    "worker": "homelab.cli.roles:worker",
}


class LazyGroup(click.Group):
    """Resolves a command by the table; listing needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="homelab")
@click.option("--lab", "lab_file", metavar="FILE", help="The lab file (default: ./lab.toml, else the last one used).")
@click.option("--home", metavar="DIR", help="The state folder of the lab (default: HOMELAB_HOME).")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.pass_context
def cli(ctx: click.Context, lab_file: str | None, home: str | None, debug: bool) -> None:
    """Your cron jobs, services and agents as one running lab."""
    # The environment is how options reach the commands and the processes they start.
    if lab_file:
        os.environ["HOMELAB_LAB"] = os.path.abspath(lab_file)  # noqa: PTH100
    if home:
        os.environ["HOMELAB_HOME"] = os.path.abspath(home)  # noqa: PTH100


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exits with the status of the contract."""
    arguments: list[str] = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if debug:  # accepted anywhere on the line
        arguments = ["--debug", *[a for a in arguments if a != "--debug"]]
    try:
        result: Any = cli.main(args=arguments, prog_name="homelab", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except HomelabError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The reader went away (`homelab run logs X | head`): nothing to say, and nothing to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
