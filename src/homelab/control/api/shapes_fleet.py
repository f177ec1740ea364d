"""What the routes of the fleet take and give, as types (see `shapes`). Amounts are bytes, or numbers of units; a
resource counted in bytes ends in `_bytes` where it is a field."""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

NodeState = Literal["ready", "unreachable", "draining", "drained", "asleep", "stopped"]
Amounts = dict[str, int | float]


class Holding(TypedDict):
    owner: str
    kind: Annotated[Literal["lease", "model", "others"], Field(description="others: programs outside the lab")]
    amount: int | float


class Resource(TypedDict):
    """One resource of a node: the bar of a chart."""

    resource: str
    device: Annotated[int | None, Field(description="which GPU, where there are several")]
    total: int | float
    free: Annotated[int | float, Field(description="negative: more is held than there is")]
    held: list[Holding]


class Holder(TypedDict):
    owner: str
    kind: Literal["lease", "model", "others"]
    amounts: Amounts


class NodeTrouble(TypedDict):
    code: str
    message: str
    hint: str


class FleetNode(TypedDict):
    name: str
    state: NodeState
    why: Annotated[list[str], Field(description="why it is in that state, in sentences")]
    roles: list[str]
    labels: dict[str, str]
    address: str
    declared_by_lab: Annotated[bool, Field(description="the lab file names it")]
    capacity: Annotated[Amounts, Field(description="what is counted with: the smaller of declared and measured")]
    used: Amounts
    leased: Annotated[Amounts, Field(description="of `used`: by work and models of the lab")]
    others: Annotated[Amounts, Field(description="of `used`: by programs outside the lab")]
    free: Amounts
    resources: list[Resource]
    holders: Annotated[list[Holder], Field(description="the same by owner: leases, models, other programs")]
    holds: Annotated[int, Field(description="pieces of work on it")]
    is_away: Annotated[bool, Field(description="it sleeps, was stopped, or is not heard")]
    wakeable: Annotated[bool, Field(description="the lab file gives the address that wakes it")]
    version: str
    clock_skew_s: Annotated[float | None, Field(description="its clock less the lab's; None: unknown")]
    heartbeat_age_s: Annotated[float | None, Field(description="None: never heard of")]
    problems: list[NodeTrouble]


class FleetNodes(TypedDict):
    nodes: list[FleetNode]


class HeldLease(TypedDict):
    """What one piece of work holds of a node now."""

    work: str
    owner: str
    run: str | None
    job: str | None
    node: str
    amounts: Amounts
    device: int | None
    exclusive: list[str]
    priority: int
    restartable: bool
    taken: datetime
    expected_end: datetime | None


class PastLease(TypedDict):
    work: str
    owner: str
    run: str | None
    job: str | None
    node: str
    amounts: Annotated[Amounts, Field(description="empty for what ran without a lease")]
    taken: datetime
    ended: datetime | None
    how: Annotated[
        str,
        Field(description="the state in which it ended; `expired`, `released`, `evicted`, `removed`: its lease went"),
    ]


class LeaseHistory(TypedDict):
    leases: list[PastLease]


class HeldModel(TypedDict):
    name: str
    gpu_memory_bytes: int
    device: int


class WholeNode(FleetNode):
    declared: dict[str, Any]
    measured: dict[str, Any] | None
    models: list[HeldModel]
    apps: list[str]
    power: dict[str, Any] | None
    thermal: dict[str, Any] | None
    devices: Annotated[list[str], Field(description="names of its GPUs")]
    drained_by: str
    drained_since: datetime | None
    leases: Annotated[list[HeldLease], Field(description="what is on it now, the oldest first")]
    recent: Annotated[list[PastLease], Field(description="what was on it, the newest first")]


class OneNode(TypedDict):
    node: WholeNode


class NodeReason(TypedDict):
    node: str
    code: str
    reason: str


class Waiting(TypedDict):
    work: str
    run: str | None
    job: str
    priority: int
    since: datetime
    node: Annotated[str | None, Field(description="where it is to run, if that is decided")]
    reasons: Annotated[list[NodeReason], Field(description="why it does not start, machine by machine")]


class Queue(TypedDict):
    queue: Annotated[list[Waiting], Field(description="in the order in which they get their turn")]


class Removal(TypedDict):
    force: NotRequired[Annotated[bool, Field(description="give up what it holds")]]


class Removed(TypedDict):
    node: str
    given_up: Annotated[list[str], Field(description="work that was on it")]


class Ask(TypedDict):
    job: NotRequired[Annotated[str, Field(max_length=200, description="take the requirements from this job")]]
    requires: NotRequired[Annotated[dict[str, Any], Field(description="as the lab file writes them")]]
    labels: NotRequired[dict[str, str]]
    place: NotRequired[Literal["auto", "spread", "pack"]]


class Placed(TypedDict):
    node: str
    score: float
    wake: bool
    reasons: list[str]
    details: list[dict[str, Any]]


class Rejected(TypedDict):
    node: str
    code: str
    reason: str
    details: list[dict[str, Any]]


class Decision(TypedDict):
    """One of the two."""

    placement: NotRequired[Placed]
    rejections: NotRequired[list[Rejected]]
