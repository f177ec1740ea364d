"""What the routes of the lab as a whole take and give, as types (see `shapes`)."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from homelab.core.jobs import RunState
from homelab.core.placement import State


class Machine(TypedDict):
    name: str
    worker: str
    state: State
    heartbeat_age_s: float
    slots: int
    running: list[dict[str, Any]]


class Problem(TypedDict):
    code: str
    severity: Literal["error", "warning", "note"]
    subject: str
    message: str
    hint: str
    since: NotRequired[datetime]
    node: NotRequired[Annotated[str, Field(description="the machine that it is about")]]


class Lab(TypedDict):
    lab: str | None
    nodes: list[Machine]
    problems: list[Problem]
    shadow: Annotated[list[str], Field(description="jobs that cron runs")]


class Problems(TypedDict):
    problems: list[Problem]


class Entry(TypedDict):
    """One thing that needs a person."""

    kind: str
    subject: str
    reason: str
    since: datetime | None
    job: str | None
    run: str | None
    node: str | None
    waiting: list[str]
    actions: list[str]
    hint: str
    said: Annotated[str, Field(description="the line of its output that tells most")]
    facts: list[str]
    advice: str


class Going(TypedDict):
    id: str
    job: str
    flow: str
    state: RunState
    attempt: int
    started: datetime | None
    retry_at: datetime | None
    usual_s: float | None
    node: str | None
    trigger: str
    by: str


class Upcoming(TypedDict):
    flow: str
    due: datetime
    jobs: int


class JustEnded(TypedDict):
    id: str
    job: str
    state: RunState
    ended: datetime
    duration_s: float


class Now(TypedDict):
    lab: str | None
    time: datetime
    event: Annotated[int, Field(description="the newest event that this answer has in it")]
    jobs: int
    paused: int
    attention: list[Entry]
    running: list[Going]
    next: list[Upcoming]
    recent: list[JustEnded]
    nodes: list[Machine]
    states: Annotated[dict[str, str], Field(description="job to `paused`, the state of its newest run, or ''")]


class Service(TypedDict):
    name: str
    kind: str
    state: str
    url: str | None
    pid: int | None
    memory_bytes: int | None
    restarts: int
    crash_loop: NotRequired[bool]
    message: str


class Services(TypedDict):
    services: list[Service]


class Day(TypedDict):
    day: date
    runs: int
    failures: int


class Days(TypedDict):
    days: list[Day]


class LabFiles(TypedDict):
    files: Annotated[dict[str, str], Field(description="displayed path to text")]
    main: Annotated[str, Field(description="which of them is the lab file")]
    folder: NotRequired[Annotated[str, Field(description="where it lies: relative working folders are below it")]]


class Apply(LabFiles):
    since: NotRequired[
        Annotated[
            datetime, Field(description="jobs that come in or leave shadow were cron's until then, the lab's after it")
        ]
    ]
    deadline: NotRequired[Annotated[datetime, Field(description="with `since`: refused after this time")]]


class FieldChange(TypedDict):
    field: str
    old: str
    new: str


class Change(TypedDict):
    kind: Literal["added", "removed", "renamed", "changed"]
    name: str
    old_name: str
    fields: list[FieldChange]


class Plan(TypedDict):
    jobs: list[Change]
    flows: list[Change]
    settings: list[FieldChange]
    unchanged_jobs: int
    unchanged_flows: int
    replaced_flows: list[str]
    restarts: list[str]
    is_empty: bool
    summary: str


class Version(TypedDict):
    """A lab file that was applied."""

    id: int
    applied: datetime
    by: str
    path: str
    is_takeover: Annotated[bool, Field(description="jobs came from cron with it")]


class Versions(TypedDict):
    versions: list[Version]


class UndoPlan(TypedDict):
    of: Annotated[Version, Field(description="what would be taken back")]
    version: Annotated[Version, Field(description="what would be applied again")]
    plan: Plan
    refused: Annotated[str, Field(description="why it cannot be done, or ''")]


class Undo(TypedDict):
    version: Annotated[int, Field(description="the `version` that was looked at")]


class LabProblem(TypedDict):
    file: str
    line: int
    column: int
    severity: Literal["error", "warning", "note"]
    code: str
    message: str
    hint: str


class LabFile(TypedDict):
    path: str | None
    folder: NotRequired[str]
    applied: datetime | None
    files: dict[str, str]
    disk: Annotated[dict[str, str] | None, Field(description="None, with `error`, when it cannot be read")]
    main: NotRequired[str]
    problems: list[LabProblem]
    plan: Plan | None
    error: str


class Notification(TypedDict):
    id: int
    created: datetime
    kind: str
    job: str | None
    run: str | None
    title: str
    body: str
    target: str
    state: Literal["queued", "sent", "failed", "suppressed"]
    attempts: int
    error: str
    sent: datetime | None
    next_attempt: datetime | None


class Notifications(TypedDict):
    notifications: list[Notification]


class Delivered(TypedDict):
    target: str
    ok: bool
    error: str


class Test(TypedDict):
    notifications: list[Delivered]


class AuditEntry(TypedDict):
    id: int
    time: datetime
    who: str
    via: Annotated[str, Field(description="how they were known: token, link, passkey NAME, tailscale")]
    origin: Annotated[str, Field(description="address and program")]
    action: str
    subject: str
    result: Annotated[str, Field(description="`done`, or the code of the refusal")]
    body: dict[str, Any]


class Audit(TypedDict):
    audit: list[AuditEntry]


class Status(TypedDict):
    status: str
    database: NotRequired[str]
