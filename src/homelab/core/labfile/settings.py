"""Every setting of a lab file, once: name, kind, default, unit, reason. Parser, schema and page come from it."""

from typing import Any, Final

from homelab.core import jobs
from homelab.core.durations import duration_text, size_text
from homelab.core.labfile.amounts import AFFINITY_KIND, CAPACITY_KIND, REQUIRES_KIND
from homelab.core.labfile.digest import DIGEST
from homelab.core.labfile.kinds import (
    BOOLEAN,
    FREE_TABLE,
    FUNCTION,
    NAME,
    NONEMPTY,
    PORT,
    SECRET_REFERENCE,
    SIZE,
    TEXT,
    TIMEZONE,
    URL_OR_REFERENCE,
    USER,
    VARIABLE,
    VARIABLE_VALUE,
    Kind,
    Setting,
    Table,
    duration,
    integer,
    list_of,
    map_of,
    matching,
    number,
    one_of,
)
from homelab.core.labfile.listening import HOST, LISTEN
from homelab.core.labfile.model import EVENTS, NotifySettings, WorkerSettings
from homelab.core.labfile.problems import At
from homelab.core.labfile.saving import ARTEFACTS, SAVE_KIND
from homelab.core.labfile.waking import WAKE
from homelab.core.placement import AGEING_S

_NAME_HINT: Final = "Use up to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit."
NAMED: Final = matching(NAME, "a name that can be used", _NAME_HINT, code="name")
NOTHING: Final = "none"


def setting(name: str, kind: Kind, default: str, reason: str, unit: str = "") -> Setting:
    return Setting(name=name, kind=kind, default=default, unit=unit, reason=reason)


def either(words: str, simple: tuple[type, ...], as_simple: Kind, table: Table) -> Kind:
    """A simple value, or a table with more to say; read as the simple value, or the dictionary of the table."""

    def read(value: Any, at: At) -> Any:
        return as_simple.read(value, at) if isinstance(value, simple) else table.read(value, at)

    return Kind(words=words, schema={"anyOf": [as_simple.schema, table.schema()]}, read=read)


_RETRIES: Final = jobs.Retries()
RETRIES: Final = Table(
    name="retries",
    about="`retries = 3`, or a table. Attempt n+1 waits `delay * backoff^(n-1)`, at most `max_delay`.",
    settings=(
        setting("max", integer(0, 1000), "0", "Further attempts after the first one failed.", "attempts"),
        setting(
            "delay", duration(), f'"{duration_text(_RETRIES.delay_s)}"', "The wait before the first retry.", "seconds"
        ),
        setting(
            "backoff", number(1, 100), "2", "Each wait is this many times the one before, to give what is broken time."
        ),
        setting(
            "max_delay",
            duration(),
            f'"{duration_text(_RETRIES.max_delay_s)}"',
            "No wait is longer than this.",
            "seconds",
        ),
        setting(
            "jitter",
            number(0, 1),
            "0.1",
            "A random part is added to the wait, so that jobs do not retry in step.",
            "share",
        ),
    ),
)

NEED: Final = Table(
    name="needs",
    about="An item of `needs`: a job's name, or a table with more to say.",
    settings=(
        setting("job", NAMED, NOTHING, "The job that must come first."),
        setting(
            "when",
            one_of("success", "always", "failure"),
            '"success"',
            "Which outcome of that job lets this one start.",
        ),
        setting(
            "within",
            duration(positive=True),
            "one period of the other schedule",
            "For a job on another schedule: how old its last success may be.",
            "seconds",
        ),
    ),
)

JOB_NOTIFY: Final = Table(
    name="notify",
    about="`notify = false` for no alerts about this job, or a table.",
    settings=(
        setting("on", list_of(one_of(*EVENTS)), "as [notify]", "What to alert about for this job."),
        setting("urls", list_of(URL_OR_REFERENCE), "[]", "Where alerts about this job go too."),
    ),
)


EXPECT: Final = Table(
    name="expect",
    about="What is usual for the job, where you know better than its history. It tells, and stops nothing.",
    settings=(
        setting(
            "duration",
            duration(positive=True),
            "as learned",
            "A run that takes longer is told as slow, one that goes on for three times as long as stuck. Where work "
            "waits for room, work that says so may start before larger work, when it ends before that could start.",
            "seconds",
        ),
        setting(
            "output",
            SIZE,
            "as learned",
            "A run that succeeds and prints less is told as shrunken, or silent; 0 says that silence is fine.",
            "bytes",
        ),
        setting(
            "late",
            duration(positive=True),
            "as learned",
            "A run that has not started so long after its instant is told as late.",
            "seconds",
        ),
    ),
)


def _read_need(value: Any, at: At) -> dict[str, Any]:
    found = {"job": NAMED.read(value, at)} if isinstance(value, str) else NEED.read(value, at)
    if isinstance(value, dict) and "job" not in value:
        at.error("missing", "this need does not say which job", 'Write { job = "NAME" }.')
    return found


_NEED_KIND: Final = Kind(
    words="a job's name or a table",
    schema={"anyOf": [NAMED.schema, {**NEED.schema(), "required": ["job"]}]},
    read=_read_need,
)

_JOB: Final = jobs.Job(name="x")
_ENVIRONMENT: Final = map_of(VARIABLE_VALUE, keys=None, what="variables")

DEFAULTS: Final = Table(
    name="[defaults]",
    about="What holds for every job that does not say otherwise. In an included file: for the jobs of that file.",
    settings=(
        setting("timezone", TIMEZONE, "that of [lab]", "The zone in which the schedule is read."),
        setting("shell", NONEMPTY, f'"{_JOB.shell}"', "The program that runs the command, with `-c`, as in cron."),
        setting("cwd", TEXT, "the user's home folder", "The folder the command starts in, as in cron."),
        setting(
            "user",
            matching(USER, "the name of a user", "Use the login name."),
            "the user of the worker",
            "Who runs the job; another user than the worker's needs a worker run by root.",
        ),
        setting(
            "stdin", TEXT, NOTHING, "Text given to the command on its standard input (what follows a `%` in a crontab)."
        ),
        setting(
            "environment",
            _ENVIRONMENT,
            "{}",
            "The variables the command sees. Nothing of the worker's own environment is passed on.",
        ),
        setting(
            "secrets",
            map_of(SECRET_REFERENCE, keys=VARIABLE, what="references"),
            "{}",
            "Variables looked up when the job starts (env:NAME, file:PATH, keychain:NAME); *** in its output.",
        ),
        setting(
            "params",
            map_of(VARIABLE_VALUE, keys=VARIABLE, what="variables"),
            "{}",
            "Parameters with defaults; a run by hand can give others. Passed as variables, never put into the command.",
        ),
        setting(
            "retries",
            either("a number or a table", (int,), integer(0, 1000), RETRIES),
            "0",
            "Further attempts after a failure. None by default, because a command need not be safe to repeat.",
            "attempts",
        ),
        setting(
            "timeout",
            duration(positive=True, none=True),
            '"none"',
            "How long one attempt may take before it is stopped. No limit by default, as in cron.",
            "seconds",
        ),
        setting(
            "grace",
            duration(),
            f'"{duration_text(_JOB.grace_s)}"',
            "The time between the request to stop (SIGTERM) and the end by force (SIGKILL).",
            "seconds",
        ),
        setting(
            "overlap",
            one_of("allow", "forbid", "queue"),
            f'"{_JOB.overlap}"',
            "When it is due while it still runs: run both (as cron does), skip the new run, or run it afterwards.",
        ),
        setting("exclusive", list_of(NAMED), "[]", "Groups of which only one job runs at a time."),
        setting(
            "missed",
            one_of("skip", "latest", "all"),
            '"skip"',
            "What is made up for when the lab was down at the due time. Nothing by default, as in cron; "
            "a job that needs others takes their policy by default.",
        ),
        setting("queue", NAMED, f'"{_JOB.queue}"', "Which queue's limit counts for the job."),
        setting("paused", BOOLEAN, "false", "A paused job keeps its place but does not run by schedule."),
        setting(
            "shadow",
            BOOLEAN,
            "false",
            "Cron still runs it: the lab only notes when it would have. See `cron compare`, `cron adopt`.",
        ),
        setting("tags", list_of(NONEMPTY), "[]", "Words to find jobs by; they are shown in Prefect too."),
        setting(
            "output_limit",
            SIZE,
            f'"{size_text(_JOB.output_limit_bytes)}"',
            "How much output of one attempt is kept; beyond it the middle is cut and marked.",
            "bytes",
        ),
        setting(
            "notify",
            either("false or a table", (bool,), BOOLEAN, JOB_NOTIFY),
            "true",
            "Alerts about this job: false for none, a table for other ones.",
        ),
        setting("expect", EXPECT.kind(), "{}", "What is usual for the job, in place of what the lab learns; a table."),
        setting(
            "requires",
            REQUIRES_KIND,
            "{}",
            "What a node must have free: see [requires](#requires-of-a-job). What no node can ever have is an error.",
        ),
        setting(
            "affinity",
            list_of(AFFINITY_KIND),
            "[]",
            "Nodes to be on, or work to be with: see [affinity](#affinity-of-a-job).",
        ),
        setting("anti_affinity", list_of(AFFINITY_KIND), "[]", "Nodes not to be on, or work not to be with."),
        setting(
            "place",
            one_of("auto", "spread", "pack"),
            f'"{_JOB.place}"',
            "Among nodes that fit: the emptiest (spread), or the fullest, so that the others stay free for large work "
            "(pack). By itself, what says what it requires is packed, and what does not is spread.",
        ),
        setting(
            "priority",
            integer(-100, 100),
            "0",
            f"Higher is first. A level counts as much as {duration_text(AGEING_S)} of waiting, so that nothing waits "
            "for ever.",
        ),
        setting(
            "restartable",
            BOOLEAN,
            "false",
            "It may be stopped, and started anew later, to make room for work of higher priority.",
        ),
        setting(
            "apart",
            BOOLEAN,
            "false",
            "It may run on another node than the other jobs of its run, where there is room first. By itself, it does "
            "so only when the node of its run could never take it. What it needs of them comes by `$HOMELAB_OUTPUT` "
            "and `save`; files that they leave on their node are not there.",
        ),
    ),
)

JOB: Final = Table(
    name="[jobs.NAME]",
    about="One job. It has `run` or `flow`; everything else has a default.",
    settings=(
        setting("run", NONEMPTY, NOTHING, "The shell command to run."),
        setting(
            "flow",
            matching(FUNCTION, "a function", 'Write "package.module:function".'),
            NOTHING,
            "The Prefect flow to run, as `module:function`, instead of a command.",
        ),
        setting(
            "schedule",
            NONEMPTY,
            NOTHING,
            "Five cron fields, or @daily and the like. Without it, a job runs after those it needs, or by hand.",
        ),
        setting(
            "needs",
            list_of(_NEED_KIND),
            "[]",
            "The jobs that must come first. On another schedule: their last success must be recent.",
        ),
        setting("description", TEXT, '""', "What the job is for; shown in lists and alerts."),
        setting(
            "save",
            SAVE_KIND,
            "[]",
            "Files that are kept after it succeeded, for people and the jobs that need it; see [save](#save-of-a-job).",
        ),
        *DEFAULTS.settings,
        setting(
            "imported",
            FREE_TABLE,
            NOTHING,
            "Written by `cron import` to find the job again, and to remember answers. Nothing else reads it.",
        ),
    ),
)

LAB: Final = Table(
    name="[lab]",
    about="The lab itself. Only in the main file.",
    settings=(
        setting("name", NAMED, '"lab"', "The lab's name, in titles and alerts."),
        setting("timezone", TIMEZONE, '"UTC"', "The zone of all schedules that do not name one."),
        setting(
            "include",
            list_of(NONEMPTY),
            "[]",
            "Further files with jobs, relative to this one; `*` stands for any name.",
        ),
    ),
)

QUEUE: Final = Table(
    name="[queues.NAME]",
    about="A queue keeps some jobs from taking the room of others.",
    settings=(
        setting("concurrency", integer(1, 10_000), "as [worker]", "How many jobs of this queue run at once.", "jobs"),
    ),
)

WORKER: Final = Table(
    name="[worker]",
    about="The process that runs the jobs.",
    settings=(
        setting(
            "concurrency",
            integer(1, 10_000),
            str(WorkerSettings().concurrency),
            "How many jobs run at once on one machine; more would only slow each other down.",
            "jobs",
        ),
        setting("name", NAMED, "the name of the machine", "How the worker is called in lists."),
    ),
)

_PORT_REASON: Final = '"auto" takes a free port; a number that is taken is an error that names who has it.'


def _service(name: str, about: str, url: str, *more: Setting) -> Table:
    return Table(
        name=name,
        about=about,
        settings=(
            setting("url", URL_OR_REFERENCE, NOTHING, url),
            setting("port", PORT, '"auto"', _PORT_REASON),
            setting(
                "host",
                NONEMPTY,
                '"127.0.0.1"',
                "The address it listens on: this machine alone, unless you say otherwise.",
            ),
            *more,
        ),
    )


POSTGRES: Final = _service(
    "[postgres]",
    "The database.",
    "Use this server instead of starting one; it needs databases `homelab` and `prefect`, or the right to make them.",
)
PREFECT: Final = _service(
    "[prefect]",
    "The Prefect server.",
    "Use this Prefect server instead of starting one.",
    setting("auth", SECRET_REFERENCE, NOTHING, "With `url`: a reference to the `user:password` that server asks for."),
)
CONTROL: Final = _service(
    "[control]",
    "The lab's own API and pages.",
    "Where others reach this lab's pages; used in links.",
    setting(
        "nodes",
        LISTEN,
        "this machine alone, on a free port, once a node is to join",
        'Where nodes of other machines come in, by HTTPS: `"0.0.0.0:7443"`. It serves nodes and nobody else.',
    ),
    setting(
        "node_names",
        list_of(HOST),
        "[]",
        "Names and addresses by which nodes reach that port, the first of them in joining tokens; those of this machine"
        " are known without.",
    ),
)

ACCESS: Final = Table(
    name="[access]",
    about="Who reaches the lab's pages, beyond this machine and its tokens.",
    settings=(
        setting(
            "hosts",
            list_of(NONEMPTY),
            "[]",
            "Further names that the lab is opened by, such as the one of `tailscale serve`: any other is refused, so"
            " that no foreign page can speak to it by a name of its own.",
        ),
        setting(
            "tailscale",
            map_of(one_of("read", "operate", "admin"), keys=None, what="logins and roles"),
            "{}",
            "Logins of your tailnet and what each may, once `tailscale serve` on this machine vouches for them:"
            ' `{ "anna@example.com" = "operate" }`.',
        ),
    ),
)

NOTIFY: Final = Table(
    name="[notify]",
    about="Alerts.",
    settings=(
        setting(
            "urls",
            list_of(URL_OR_REFERENCE),
            "[]",
            "Where alerts go: apprise URLs, or references to them when they hold a password.",
        ),
        setting("on", list_of(one_of(*EVENTS)), "all of them", f"What to alert about: {', '.join(EVENTS)}."),
        setting(
            "throttle",
            duration(),
            f'"{duration_text(NotifySettings().throttle_s)}"',
            "The same alert about the same job is not repeated within this time.",
            "seconds",
        ),
        setting(
            "digest",
            DIGEST,
            '"Mon 08:00"',
            "When the lab tells its `urls` how it went since the last time: a day and time, or a time, in the zone of"
            " the lab, or a cron expression; `false` for never.",
        ),
    ),
)

NODE: Final = Table(
    name="[nodes.NAME]",
    about="A machine of the lab.",
    settings=(
        setting("address", NONEMPTY, "the node's name", "How the other machines reach it."),
        setting("roles", list_of(NONEMPTY), "[]", "What it is for, in words of your own."),
        setting("labels", map_of(VARIABLE_VALUE, keys=None, what="labels"), "{}", "What jobs can ask for."),
        setting("capacity", CAPACITY_KIND, "{}", "What it has: see [capacity](#capacity-of-a-node)."),
        setting(
            "sleeps",
            BOOLEAN,
            "false",
            "A machine that goes to sleep by itself, such as a laptop: when it is silent it is asleep, not failed.",
        ),
        setting(
            "wake",
            WAKE,
            NOTHING,
            "The MAC address of its network card, to wake it when only it can run something. With `@ADDRESS` or "
            "`@ADDRESS:PORT`, where the message goes instead of to all networks of this machine.",
        ),
    ),
)

NAMED_TABLES: Final = {"jobs": JOB, "queues": QUEUE, "nodes": NODE}
"""Top-level tables that hold one table a name. `agents` is accepted as it is."""
SINGLE_TABLES: Final = {
    "lab": LAB,
    "defaults": DEFAULTS,
    "worker": WORKER,
    "postgres": POSTGRES,
    "prefect": PREFECT,
    "control": CONTROL,
    "notify": NOTIFY,
    "access": ACCESS,
    "artefacts": ARTEFACTS,
}
TOP: Final = (
    "lab",
    "defaults",
    "jobs",
    "queues",
    "worker",
    "notify",
    "postgres",
    "prefect",
    "control",
    "access",
    "artefacts",
    "nodes",
    "agents",
)
INCLUDABLE: Final = ("jobs", "defaults", "queues", "nodes", "agents")
