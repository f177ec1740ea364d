"""What the API takes and gives, as types: the OpenAPI document is made of them, and tests hold the answers to them.

Times are ISO 8601 in UTC. An answer may gain fields; none is renamed or dropped within a version of the API. Nothing is
checked against these at run time: each route reads its body by `answers`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from homelab.core.jobs import RunState

Role = Literal["read", "operate", "admin"]
Text = str
Moment = datetime

# -- jobs -------------------------------------------------------------------------------------------------------------


class LastRun(TypedDict):
    id: str
    state: RunState
    reason: str
    started: datetime | None
    ended: datetime | None


class Health(TypedDict):
    states: Annotated[list[RunState], Field(description="of the last runs, the newest first")]
    durations_s: Annotated[list[float | None], Field(description="of the same runs, in the same order")]
    success_ratio: float | None
    runs: int


class Job(TypedDict):
    name: str
    flow: str
    schedule: str | None
    schedule_words: str | None
    timezone: str
    next_due: datetime | None
    needs: list[str]
    node: str | None
    paused: bool
    shadow: Annotated[bool, Field(description="cron runs it")]
    description: str
    source: Annotated[str, Field(description="FILE:LINE")]
    last_run: LastRun | None
    health: Health


class Jobs(TypedDict):
    jobs: list[Job]


class Spread(TypedDict):
    """What is usual: nine of ten values lie from `low` to `high`; `sigma` is on the logarithmic scale."""

    count: int
    middle: float
    low: float
    high: float
    smallest: float
    largest: float
    sigma: float
    when: Annotated[str, Field(description="'on this weekday', 'at this hour', where only those were looked at")]


class Limits(TypedDict):
    late_s: float | None
    stuck_s: float | None


class Statistics(TypedDict):
    runs: int
    failures: int
    duration_s: Spread | None
    output_bytes: Spread | None
    start_delay_s: Spread | None
    limits: Annotated[Limits, Field(description="beyond them a run is told as late, as stuck")]


class Unusual(TypedDict):
    kind: str
    since: datetime
    reason: str


class Adopted(TypedDict):
    crontab: str
    since: datetime


class WholeJob(Job):
    adopted: Annotated[Adopted | None, Field(description="the live crontab that it was taken over from")]
    definition: Annotated[dict[str, Any], Field(description="every setting, as the lab has it")]
    settings: Annotated[dict[str, str], Field(description="the same as text, by the names of the lab file")]
    file: str | None
    line: int | None
    statistics: Statistics
    unusual: Annotated[list[Unusual], Field(description="what holds now and was told")]


class OneJob(TypedDict):
    job: WholeJob


class RunRow(TypedDict):
    """One job in one run: its newest attempt."""

    id: str
    job: str
    flow: str
    state: RunState
    due: datetime | None
    started: datetime | None
    ended: datetime | None
    duration_s: float | None
    node: str | None
    attempt: Annotated[int, Field(description="0: it has not begun")]
    exit_code: int | None
    signal: int | None
    reason: str
    trigger: str
    retry_at: datetime | None
    output_bytes: int | None


class Why(TypedDict):
    job: str
    reasons: list[str]
    next_due: datetime | None
    last_run: RunRow | None
    advice: str


class Node(TypedDict):
    name: str
    flow: str
    schedule: str | None


Edge = TypedDict("Edge", {"from": str, "to": str, "when": str, "kind": Literal["task", "freshness"]})


class Graph(TypedDict):
    nodes: list[Node]
    edges: list[Edge]


class States(TypedDict):
    states: Annotated[dict[str, str], Field(description="job to `paused`, the state of its newest run, or ''")]


class Names(TypedDict):
    lab: str
    timezone: str
    jobs: Annotated[list[str], Field(description="in the order of the lab file")]


class RunJob(TypedDict):
    params: NotRequired[Annotated[dict[str, str | int | float | bool], Field(description="passed as environment")]]
    only: NotRequired[Annotated[bool, Field(description="just this job, without what it needs and what needs it")]]


class Started(TypedDict):
    id: str
    job: str
    flow: str
    jobs: list[str]
    state: RunState


class StartedRun(TypedDict):
    run: Started


class Switched(TypedDict):
    job: str
    paused: bool


class Preview(TypedDict):
    action: str
    will: Annotated[list[str], Field(description="what will happen, in sentences")]
    is_grave: bool
    undo: Annotated[str, Field(description="the act that takes it back, or ''")]


class Empty(TypedDict):
    """Nothing."""


# -- runs -------------------------------------------------------------------------------------------------------------


class ListedRun(RunRow):
    at: Annotated[datetime, Field(description="when it was last written; as `until` it gives what comes after")]


class Runs(TypedDict):
    runs: list[ListedRun]


class Attempt(TypedDict):
    attempt: int
    state: RunState
    started: datetime | None
    ended: datetime | None
    exit_code: int | None
    signal: int | None
    reason: str
    output_bytes: int | None
    output_lines: int | None
    tail: Annotated[list[str], Field(description="the last lines of its output")]
    node: str | None
    worker: str | None
    retry_at: datetime | None
    outputs: Annotated[dict[str, str], Field(description="the variables that it passes on")]


class JobOfRun(RunRow):
    attempts: list[Attempt]
    needs: list[str]
    usual_s: float | None
    ending: Annotated[str, Field(description="how it ended, in one sentence")]
    facts: Annotated[list[str], Field(description="what else was seen, in sentences")]
    advice: Annotated[str, Field(description="what to do next, where that is certain")]
    waits: Annotated[list[str], Field(description="for room: why, machine by machine")]
    source: str
    outputs: Annotated[dict[str, str], Field(description="the variables that its last success passes on")]


class WholeRun(TypedDict):
    id: str
    flow: str
    state: RunState
    due: datetime | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    node: str | None
    worker: str | None
    reason: str
    trigger: str
    by: str
    params: dict[str, str]
    jobs: list[JobOfRun]
    why: Annotated[str, Field(description="what started it, in one sentence")]
    digest: Annotated[str, Field(description="of the definition it runs under")]


class OneRun(TypedDict):
    run: WholeRun


class Other(TypedDict):
    id: str
    state: RunState
    ended: datetime | None


class Difference(TypedDict):
    what: str
    before: str
    now: str
    is_changed: bool
    note: str


class Differences(TypedDict):
    job: str
    run: str
    to: Annotated[Other | None, Field(description="None: there is no run to compare with")]
    differences: list[Difference]


class Retry(TypedDict):
    failed: NotRequired[Annotated[bool, Field(description="only the jobs that did not succeed")]]
    job: NotRequired[
        Annotated[str, Field(max_length=200, description="those, and this job with all that comes after it")]
    ]


class Changed(TypedDict):
    id: str
    flow: str
    state: RunState


class ChangedRun(TypedDict):
    run: Changed


class Line(TypedDict):
    at: Annotated[int, Field(description="its first byte in the log")]
    next: int
    time: float
    stream: Literal["out", "err", "lab"]
    pieces: Annotated[list[tuple[str, str]], Field(description="(text, names of styles)")]
    partial: NotRequired[bool]
    cut: NotRequired[bool]


class Lines(TypedDict):
    attempt: int
    lines: list[Line]
    start: int
    end: int
    size: int


class Found(TypedDict):
    at: Annotated[int | None, Field(description="where the line begins; None: not found so far")]
    scanned: int
    is_over: bool


# -- workers ----------------------------------------------------------------------------------------------------------


Amount = Annotated[int, Field(ge=0, le=2**62)]


class Measured(TypedDict):
    """What a node has: bytes of memory and disks, thousandths of anything else. What is left out is unknown."""

    amounts: NotRequired[dict[str, Amount]]
    gpus: NotRequired[Annotated[list[Amount] | None, Field(max_length=500, description="bytes of each device")]]
    unified: NotRequired[Annotated[bool, Field(description="GPU memory is a share of memory")]]
    models: NotRequired[Annotated[list[str], Field(max_length=500)]]


class LoadedModel(TypedDict):
    name: str
    gpu_memory: NotRequired[Annotated[Amount, Field(description="bytes; 0 when it is in main memory")]]
    device: NotRequired[Annotated[int, Field(ge=0)]]


class Heartbeat(TypedDict):
    worker: Annotated[str, Field(min_length=1, max_length=200)]
    node: Annotated[str, Field(max_length=200)]
    pid: Annotated[int, Field(ge=1, le=2**31 - 1)]
    started: datetime
    slots: Annotated[int, Field(ge=0, le=2**31 - 1)]
    running: NotRequired[list[dict[str, Any]]]
    leases: NotRequired[Annotated[list[int], Field(description="tokens of the leases that it holds")]]
    runs: NotRequired[Annotated[list[str], Field(description="runs that it has, or that an earlier worker left")]]
    measured: NotRequired[Measured]
    used: NotRequired[
        Annotated[dict[str, Amount], Field(description="what others than the lab's work use; unknown is left out")]
    ]
    models: NotRequired[Annotated[list[LoadedModel], Field(max_length=500, description="those that are loaded")]]
    apps: NotRequired[Annotated[dict[str, Amount], Field(description="how many there are; 0: looked for, not found")]]
    devices: NotRequired[Annotated[list[str], Field(max_length=500, description="names of its GPUs")]]
    power: NotRequired[Annotated[dict[str, Any], Field(description="`source` (ac, battery), `level` from 0 to 1")]]
    thermal: NotRequired[Annotated[dict[str, Any], Field(description="`state` (nominal, hot, critical), `celsius`")]]
    labels: NotRequired[Annotated[dict[str, str], Field(description="`os`, `arch`")]]
    asleep: NotRequired[Annotated[bool, Field(description="it goes to sleep now; its silence is no failure")]]
    slept_s: NotRequired[Annotated[float, Field(ge=0, lt=1e9, description="it slept since the last heartbeat")]]
    leaving: NotRequired[
        Annotated[bool, Field(description="this worker was told to stop and takes nothing new; the next one opens it")]
    ]
    unbegun: NotRequired[
        Annotated[
            dict[str, datetime],
            Field(max_length=500, description="with `leaving`: runs it claimed and begins no more: their instants"),
        ]
    ]
    version: NotRequired[Annotated[str, Field(max_length=40)]]
    clock: NotRequired[Annotated[datetime, Field(description="the node's own, when it sent this")]]
    replaces: NotRequired[
        Annotated[dict[str, Any] | None, Field(description="{pid, started} of its predecessor, which has ended")]
    ]
    rtt_s: NotRequired[Annotated[float, Field(ge=0, lt=1e9, description="how long the last one was answered")]]


class Sense(TypedDict):
    disks: list[str]
    apps: list[str]


class Heard(TypedDict):
    ok: bool
    queues: NotRequired[dict[str, int]]
    gone: NotRequired[Annotated[list[str], Field(description="runs that are not this node's any more")]]
    lost: NotRequired[Annotated[list[int], Field(description="tokens of leases that were given up")]]
    epoch: NotRequired[Annotated[int, Field(description="of the node; it holds what it holds under it")]]
    sense: NotRequired[Annotated[Sense, Field(description="what to look for, because a job may ask for it")]]
    version: NotRequired[Annotated[str, Field(description="of control")]]


class AskForWork(TypedDict):
    worker: Annotated[str, Field(min_length=1, max_length=200)]
    node: Annotated[str, Field(min_length=1, max_length=200)]


class Guest(TypedDict):
    token: int
    work: str
    task: dict[str, Any]
    stop: Annotated[str, Field(description="why it is to end; empty: it is not to")]


class Work(TypedDict):
    runs: Annotated[list[dict[str, Any]], Field(description="due soon, for this node to claim")]
    cancelling: Annotated[list[str], Field(description="runs to be ended, for somebody cancelled them in Prefect")]
    alone: Annotated[bool, Field(description="the lab has no other node: what asks for a slot alone needs no lease")]
    more: Annotated[bool, Field(description="there are others: ask again as soon as these are claimed")]
    guests: Annotated[list[Guest], Field(description="attempts of others' runs, for this node to make")]


class LeaseAsk(TypedDict):
    work: Annotated[str, Field(max_length=400, pattern=r"^[^/]*/.*/[^/]*$", description="RUN/JOB/ATTEMPT")]
    digest: NotRequired[Annotated[str | None, Field(description="of the flow; a run that is not the lab's has none")]]
    waited_s: NotRequired[Annotated[float, Field(ge=0)]]
    evictions: NotRequired[Annotated[int, Field(ge=0, le=1000)]]
    may_move: NotRequired[Annotated[bool, Field(description="nothing of its run starts without a lease")]]
    may_send: NotRequired[Annotated[bool, Field(description="this attempt may be made on another node than its run's")]]
    start_at: NotRequired[datetime | None]
    running: NotRequired[Annotated[bool, Field(description="it was started without a lease, and goes on")]]


class AskForLeases(TypedDict):
    node: Annotated[str, Field(min_length=1, max_length=200)]
    asks: NotRequired[Annotated[list[LeaseAsk], Field(max_length=1000)]]
    gives: NotRequired[Annotated[list[str], Field(description="work that does not need its lease any more")]]


class SentAsk(TypedDict):
    work: Annotated[str, Field(max_length=400, pattern=r"^[^/]+/.+/[0-9]{1,9}$", description="RUN/JOB/ATTEMPT")]
    token: Annotated[int, Field(ge=1, lt=1 << 63, description="of its lease on the other node")]
    task: NotRequired[Annotated[dict[str, Any], Field(description="hands the attempt over: digest, flow, due, ...")]]
    stop: NotRequired[Annotated[str, Field(description="why it is to end")]]


class AskForSent(TypedDict):
    node: Annotated[str, Field(min_length=1, max_length=200)]
    sent: list[SentAsk]


class SentAnswer(TypedDict):
    work: str
    token: int
    state: Annotated[
        Literal["unknown", "waiting", "started", "ended", "lost"],
        Field(description="unknown: send the task; lost: it never began"),
    ]
    started: NotRequired[datetime | None]
    pid: NotRequired[int | None]
    outcome: NotRequired[dict[str, Any]]


class Sent(TypedDict):
    sent: list[SentAnswer]


class ToldOfGuests(TypedDict):
    told: Annotated[list[dict[str, Any]], Field(description="node and token each, and started and pid, or the outcome")]


class WhyNot(TypedDict):
    node: str
    code: str
    reason: str


class LeaseAnswer(TypedDict):
    work: str
    answer: Literal["held", "sent", "wait", "elsewhere"]
    token: NotRequired[Annotated[int, Field(description="goes with what is reported of it")]]
    node: NotRequired[Annotated[str, Field(description="that has the run now; sent: that has the lease")]]
    reasons: NotRequired[list[WhyNot]]


class Leases(TypedDict):
    leases: list[LeaseAnswer]


class RunProgress(TypedDict):
    kept: Annotated[dict[str, RunState], Field(description="jobs with nothing left to do, and how they ended")]
    attempts: dict[str, int]
    base: Annotated[dict[str, int], Field(description="of the attempts, those that use up no retries")]
    sent: Annotated[dict[str, dict[str, Any]], Field(description="jobs in flight on other nodes: attempt, node, token")]
    passed: Annotated[dict[str, dict[str, Any]], Field(description="what jobs passed on")]


class Woken(TypedDict):
    node: str
    sent: Annotated[bool, Field(description="whether the message was sent now")]
    tries: Annotated[int, Field(description="how often it was, since the node was heard last")]
    message: str


class Commands(TypedDict):
    commands: list[dict[str, str]]


class Reports(TypedDict):
    reports: Annotated[list[dict[str, Any]], Field(description="each with an id")]


class Artefact(TypedDict):
    run: str
    job: str
    attempt: int
    path: Annotated[str, Field(description="below the working folder of the job")]
    sha256: str
    bytes: int
    node: Annotated[str | None, Field(description="where it was made")]
    saved: datetime
    is_here: Annotated[bool, Field(description="false: it is on its way from its node")]


class Artefacts(TypedDict):
    artefacts: list[Artefact]


class Objects(TypedDict):
    objects: Annotated[dict[str, int], Field(description="sizes by SHA-256", min_length=1, max_length=1000)]


class Missing(TypedDict):
    missing: list[str]


class Stored(TypedDict):
    sha256: str


class HeldLog(TypedDict):
    bytes: Annotated[int, Field(description="the length of the copy; what was sent was taken when it grew by that")]
    is_whole: Annotated[bool, Field(description="it is complete, and equal")]


class Taken(TypedDict):
    taken: int


class Error(TypedDict):
    code: str
    message: str
    hint: Annotated[str, Field(description="what to do next, or ''")]
    nearest: NotRequired[Annotated[list[str], Field(description="what an unknown name may have meant")]]


class Failure(TypedDict):
    """Every answer that is not a success."""

    error: Error


Document = dict[str, Any]
