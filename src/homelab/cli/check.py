"""`homelab check`: validate a lab file without a running lab, and show every problem at its place.

Also how `plan` and `apply` read the lab file: `checked` refuses a bad one before anything running is asked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from homelab.cli import output
from homelab.cli.output import has_colour
from homelab.core.errors import InputError

if TYPE_CHECKING:
    from homelab.core.labfile import Lab, Problem

_WIDEST = 110
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command()
@click.argument("file", required=False, type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a lab file instead (for editors).")
def check(file: str | None, as_json: bool, schema: bool) -> int:
    """Validate a lab file; show every problem at once.

    Exit status 2 when there is an error; warnings and notes are no errors.
    """
    if schema:
        from homelab.core.labfile.reference import json_schema

        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    lab, problems, texts = load(file)
    if as_json:
        click.echo(json.dumps({"problems": [p.to_json() for p in problems]}, indent=2))
    else:
        for problem in problems:
            click.echo(render(problem, texts), color=has_colour(sys.stdout))
        click.echo(summary(lab, problems, next(iter(texts), file or "lab.toml")))
        if lab is not None:
            output.hint("start it: homelab up; where it runs: homelab plan, homelab apply")
    return 0 if lab is not None else 2


def load(file: str | None) -> tuple[Lab | None, list[Problem], Mapping[str, str]]:
    """The lab (None when it has errors), its problems, and the texts it was read from, the main file first.

    A file that is there but cannot be read is a problem like others; NotFoundError when there is none.
    """
    from homelab.core.labfile import Problem, parse
    from homelab.home import labfiles, references
    from homelab.home.paths import Home

    path = labfiles.find(file)
    try:
        texts = labfiles.read(path)
    except InputError as error:
        name, _, line = (
            error.where.rpartition(":") if error.where[-1:].isdigit() and ":" in error.where else (error.where, "", "1")
        )
        problem = Problem(
            file=name,
            line=int(line),
            column=1,
            severity="error",
            code="unreadable",
            message=error.message,
            hint=error.hint,
        )
        return None, [problem], {}
    lab, problems = parse(texts, main=next(iter(texts)), exists=partial(references.exists, home=Home.default()))
    return lab, problems, texts


def checked(file: str | None) -> tuple[Lab, Mapping[str, str]]:
    """The lab and its texts. Its problems go to stderr; InputError when one of them is an error."""
    lab, problems, texts = load(file)
    for problem in problems:
        if problem.severity != "note":
            click.echo(render(problem, texts), err=True, color=has_colour(sys.stderr))
    if lab is None:
        errors = sum(p.severity == "error" for p in problems)
        raise InputError(
            f"the lab file has {_count(errors, 'error')}; nothing was changed", hint="Correct it, then: homelab check"
        )
    return lab, texts


def render(problem: Problem, texts: Mapping[str, str]) -> str:
    """A problem for people: what and where, then the line it is in with a mark below the place, then what to do."""
    severity = click.style(problem.severity, fg=_COLORS[problem.severity], bold=True)
    lines = [f"{problem.file}:{problem.line}:{problem.column}: {severity}: {problem.message}"]
    text = texts.get(problem.file, "").split("\n")
    if problem.line <= len(text) and (excerpt := text[problem.line - 1].rstrip()):
        shown, at = _excerpt(excerpt, problem.column - 1)
        lines += [f"    {shown}", f"    {' ' * at}^ {problem.hint}".rstrip()]
    elif problem.hint:
        lines.append(f"    {problem.hint}")
    return "\n".join(lines)


def _excerpt(line: str, at: int) -> tuple[str, int]:
    """The part of a line around index `at`, safe for a terminal, and where `at` is in it."""
    start = max(0, at - _WIDEST // 2) if len(line) > _WIDEST else 0
    part = line[start : start + _WIDEST]
    while start == 0 and part[:1] in (" ", "\t") and at > 0:
        part, at = part[1:], at - 1
    safe = "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in part)
    return safe, min(at - start, len(safe))


def summary(lab: Lab | None, problems: Sequence[Problem], file: str) -> str:
    """The last line: `lab.toml: 46 jobs in 31 flows, no problems`."""
    counts = [(s, sum(p.severity == s for p in problems)) for s in ("error", "warning", "note")]
    said = ", ".join(_count(n, s) for s, n in counts if n) or "no problems"
    if lab is None:
        return f"{file}: {said}"
    return f"{file}: {_count(len(lab.jobs), 'job')} in {_count(len(lab.flows), 'flow')}, {said}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
