"""The pages of the reference that are made from the code: `python -m homelab.cli.reference commands|http|exits`.

So that they cannot differ from it; a test compares. Used by whoever changes a command or a route, never at run time.
"""

import sys

import click

from homelab.cli.main import COMMANDS, cli
from homelab.core.endings import exits

EXIT_STATUS = """| status | meaning |
|---|---|
| 0 | done |
| 1 | the thing asked for ran and failed |
| 2 | wrong usage or wrong input |
| 3 | not found, or nothing is running |
| 4 | timed out |
| 5 | refused: no permission, or a conflict |
| 130 | interrupted |
"""

EXAMPLES: dict[str, str] = {
    "homelab up": "homelab up -d --wait 60",
    "homelab check": "homelab check lab.toml --json",
    "homelab cron inspect": "crontab -l | homelab cron inspect -",
    "homelab cron import": "homelab cron import /etc/crontab --system --dry-run",
    "homelab cron next": "homelab cron next '30 2 * * *' --timezone America/New_York --count 3",
    "homelab job run": "homelab job run dump-db --wait --param TABLE=users",
    "homelab job why": "homelab job why upload-db",
    "homelab run ls": "homelab run ls --state failed --since 1d",
    "homelab run logs": "homelab run logs last -f",
    "homelab run show": "homelab run show last --watch",
    "homelab job ls": "homelab job ls --watch",
    "homelab status": "homelab status --watch",
    "homelab feed add": "homelab feed add due --name phone",
    "homelab man": "homelab man run logs",
    "homelab notify digest": "homelab notify digest --send",
    "homelab run retry": "homelab run retry 4f2a --failed",
    "homelab node token": "homelab node token mac4 --ttl 600",
    "homelab node join": "homelab node join https://mac1:7443 --token hlj1.WyJodHR... --capacity cpu=8,memory=32GiB",
    "homelab place": "homelab place --requires gpu_memory=12GiB,cpu=2 --label zone=attic",
    "homelab simulate": "homelab simulate --days 7 --add-node 'mac5: cpu=12,memory=64GiB,gpu_memory=48GiB'",
    "homelab env": 'eval "$(homelab env)"; prefect flow-run ls',
    "homelab service": "homelab service install --user",
}


def commands() -> str:
    """Every command with its arguments and options."""
    context = click.Context(cli, info_name="homelab")
    parts = [
        "# Commands",
        "",
        "Data goes to standard output, everything else to standard error. Reading commands take `--json`. Options of",
        "`homelab` itself come first: `--lab FILE`, `--home DIR`; `--debug` (a traceback), `--quiet` (no hints) and",
        "`--no-pager` may stand anywhere. Tables are for terminals: in a pipe the same rows come without a header,",
        "separated by tabs, with exact times and seconds.",
        "",
        EXIT_STATUS,
    ]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            parts += _sections(command, f"homelab {name}", context)
    return "\n".join(parts).rstrip() + "\n"


def _sections(command: click.Command, path: str, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=path.rsplit(" ", 1)[1], parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## {path}", "", f"    {path} {usage}".rstrip(), "", _plain(command.help or ""), ""]
    if path in EXAMPLES:
        parts += ["Example:", "", f"    {EXAMPLES[path]}", ""]
    rows = [_row(p, context) for p in command.params if isinstance(p, click.Option) and not p.hidden]
    rows = [row for row in rows if row]
    if rows:
        parts += ["| option | meaning |", "|---|---|", *rows, ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                parts += _sections(below, f"{path} {name}", context)
    return parts


def _plain(text: str) -> str:
    paragraphs = text.strip().replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    cells = [f"`{names}`".replace("|", "\\|"), " ".join(text.split()).replace("|", "\\|")]
    return f"| {cells[0]} | {cells[1]} |"


_NODE_PORT = """
## The port for nodes

Machines that joined the lab (`homelab node join`) speak to one port of `control`, by HTTPS with a certificate of the
lab's own authority: `[control] nodes` in the lab file says where it listens. It serves the paths of scope `node`
above, Prefect's API at `/prefect/api` for the runs of the node that asks, and these. A node's token, as bearer or as
the password of basic authentication, speaks for that node alone: what names another node or its runs gets 403 and a
line in the audit.
"""

_CONDUCT = """
## Refusals

Every answer that is not a success is `{"error": {"code", "message", "hint"}}`; of an unknown name also `nearest`,
with what it may have meant. 401: no usable token or session. 403: the role does not allow it (the message names
the role), or a browser sent it from elsewhere. 404, 409, 413, 415, 421, 422, 429 and 503 are what they are
elsewhere; 503 and 429 come with `Retry-After`. Browsers with a session must send `X-Homelab: 1` with whatever
changes something.

## Events

`GET /api/v1/events` begins with an event `snapshot` (`{now, jobs}`, as the paths of these names give them) and
goes on with what happens, in the order of the numbers. A reader that comes back with `Last-Event-ID` (or
`?after=`) gets what it missed and no snapshot; when that is more than 5,000 events, or not kept any more, it gets
a snapshot. Each reader has a queue of 256; one that takes nothing for a minute is closed, and may resume. The
stream ends when its token or session does, and after an hour.
"""


def http() -> str:
    """Every route with its scope."""
    from homelab.console.site import Console
    from homelab.control.api.app import ROUTES
    from homelab.control.api.routes_nodes import NODE_ROUTES

    parts = [
        "# HTTP API",
        "",
        "`control` serves it on loopback (its address: `homelab env`). All but the open paths need a bearer token",
        "(`homelab token create`) or the session of a browser that signed in (`homelab open`). Scopes: read, operate,",
        "admin, each with those before it; `node` stands apart, for workers. For machines: `/api/v1/openapi.json`.",
        "",
        "| method | path | scope | what it does |",
        "|---|---|---|---|",
    ]
    parts += [f"| {r.method} | `{r.path}` | {r.scope} | {r.summary} |" for r in ROUTES]
    parts += ["", *_NODE_PORT.strip().splitlines(), ""]
    parts += ["| method | path | scope | what it does |", "|---|---|---|---|"]
    parts += [f"| {r.method} | `{r.path}` | {r.scope} | {r.summary} |" for r in NODE_ROUTES]
    parts += ["", *_CONDUCT.strip().splitlines()]
    parts += ["", "## Pages", "", "For browsers; the same answers as HTML.", ""]
    parts += ["| method | path | scope | what it shows or does |", "|---|---|---|---|"]
    parts += [f"| {r.method} | `{r.path}` | {r.scope} | {r.summary} |" for r in Console().routes]
    return "\n".join(parts) + "\n"


def metrics() -> str:
    """Every metric of `/metrics`."""
    from homelab.control.api import metrics as exposition

    return exposition.page()


PAGES = {"commands": commands, "http": http, "exits": exits.page, "metrics": metrics}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
