"""`homelab man`: the manual page of any command; all of them as files."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from homelab.cli import output, terminal
from homelab.core.errors import HomelabError, InputError, NotFoundError


class _CommandWord(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only in newer versions
    name = "command"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from homelab.cli.main import COMMANDS, cli

        words: list[str] = list(ctx.params.get("command") or ())
        if not words:
            return [CompletionItem(n, help=text) for n, (_, text) in COMMANDS.items() if n.startswith(incomplete)]
        found = cli.get_command(ctx, words[0])
        names = found.list_commands(ctx) if isinstance(found, click.Group) and len(words) == 1 else []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("command", nargs=-1, type=_CommandWord(), metavar="[COMMAND]...")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Write all pages there, as files for man.")
def man(command: tuple[str, ...], out: Path | None) -> None:
    """Show the manual page of a command, such as `homelab man run logs`; without one that of homelab.

    In a pipe it is printed as it is, for `man -l -`. To have `man homelab` everywhere: homelab man --out
    ~/.local/share/man/man1
    """
    from homelab.cli import manual

    if out is not None:
        if command:
            raise InputError("--out writes all pages", hint="homelab man --out DIR")
        _write(out, dict(manual.pages()))
        return
    name = manual.find(command)
    if name is None:
        raise NotFoundError(f"no command 'homelab {' '.join(command)}'", hint="List them with: homelab --help")
    text = dict(manual.pages())[name]
    if terminal.can_move() and shutil.which("man"):
        # Only man-db takes a page from its input; macOS has mandoc, which takes it without an option.
        program = ["mandoc", "-a"] if sys.platform == "darwin" and shutil.which("mandoc") else ["man", "-l", "-"]
        subprocess.run(program, input=text, text=True, check=False)
    else:
        sys.stdout.write(text)


def _write(folder: Path, pages: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (folder / f"{name}.1").write_text(text)
    except OSError as error:
        raise HomelabError(f"cannot write {folder}: {error.strerror}", hint="Give a folder of your own.") from error
    output.note(f"wrote {len(pages)} pages to {folder}")
    output.hint("read one: man homelab-run-logs (when its parent is in MANPATH)")
