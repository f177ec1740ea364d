"""The `homelab` command: a table of commands, each loaded only when it is called.

`--help` and completion read the table alone, so they load nothing heavy. Errors with a remedy are printed in one to
three lines and set the exit status of the contract; a traceback only appears with `--debug`.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

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
    "top": ("homelab.cli.top:top", "Watch the lab by keyboard, live; act where it is needed."),
    "restart": ("homelab.cli.restart:restart", "Restart the lab's programs; jobs that run go on."),
    "down": ("homelab.cli.down:down", "Stop everything of this home, and nothing else."),
    "doctor": ("homelab.cli.doctor:doctor", "Check that this machine can run a lab."),
    "env": ("homelab.cli.env:env", "Print what a shell needs to use the lab's services."),
    "open": ("homelab.cli.open:open_", "Print (and open) a one-time link to the lab's pages."),
    "service": ("homelab.cli.service:service", "Start the lab at boot (systemd, launchd)."),
    "cron": ("homelab.cli.cron:cron", "Read, import and compare crontabs; carry jobs over and back."),
    "job": ("homelab.cli.job:job", "List, show, run, pause jobs; why one did not run."),
    "run": ("homelab.cli.run:run", "List, show, retry, cancel runs; their logs."),
    "node": ("homelab.cli.node:node", "The machines: list, show, drain, remove; watch them live."),
    "place": ("homelab.cli.place:place", "Say on which node something would run, and why not elsewhere."),
    "simulate": ("homelab.cli.simulate:simulate", "How long work would wait on a fleet; what one more node changes."),
    "notify": ("homelab.cli.notify:notify", "Test and inspect notifications."),
    "person": ("homelab.cli.person:person", "Who may sign in to the lab's pages, and as what."),
    "token": ("homelab.cli.token:token", "Make and revoke access tokens."),
    "feed": ("homelab.cli.feed:feed", "Addresses for calendars, badges and menu bars."),
    "man": ("homelab.cli.man:man", "Show the manual page of a command; write all of them."),
    "completion": ("homelab.cli.completion:completion", "Print shell completion for bash, zsh or fish."),
}
ANYWHERE = ("--debug", "--quiet", "--no-pager")
"""Flags of the root that are taken anywhere on the line: nobody remembers which level a flag is of."""
HIDDEN: dict[str, str] = {
    # roles: what the supervisor starts
    "control": "homelab.cli.roles:control",
    "worker": "homelab.cli.roles:worker",
}


class ReaderGoneError(Exception):
    """What read our output has ended (`homelab run logs X | head`). Click would make a failure of it."""


class LazyGroup(click.Group):
    """Resolves a command by the table; listing needs no import."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        return result

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

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
@click.option(
    "--lab",
    "lab_file",
    type=click.Path(readable=False),
    metavar="FILE",
    help="The lab file (default: ./lab.toml, else the last one used).",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, readable=False),
    metavar="DIR",
    help="The state folder of the lab (default: HOMELAB_HOME).",
)
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.option("--quiet", is_flag=True, help="No hints at the next command.")
@click.option("--no-pager", is_flag=True, help="Long output goes straight to the terminal.")
@click.pass_context
def cli(ctx: click.Context, lab_file: str | None, home: str | None, debug: bool, quiet: bool, no_pager: bool) -> None:
    """Your cron jobs, services and agents as one running lab."""
    # The environment is how options reach the commands and the processes they start.
    if lab_file:
        os.environ["HOMELAB_LAB"] = os.path.abspath(lab_file)  # noqa: PTH100
    if quiet:
        os.environ["HOMELAB_HINTS"] = "0"
    if no_pager:
        os.environ["HOMELAB_PAGER"] = "cat"
    if home:
        os.environ["HOMELAB_HOME"] = os.path.abspath(home)  # noqa: PTH100


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags of `ANYWHERE` moved to the front, those behind `--` left alone."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [a for a in arguments[:end] if a in ANYWHERE]
    return [*flags, *(a for a in arguments[:end] if a not in ANYWHERE), *arguments[end:]]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exits with the status of the contract."""
    arguments: list[str] = list(sys.argv[1:] if argv is None else argv)
    arguments = flags_first(arguments)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a letter that the locale lacks is no reason to fail
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
    except ReaderGoneError:  # nothing to say, and nothing to flush to
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
