"""What the routes take and give that bring the lab to where people are: feeds and the digest (see `shapes`)."""

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict


class Noticed(TypedDict):
    kind: str
    subject: str
    reason: str
    url: str


class Glance(TypedDict):
    """The lab in a few stable fields."""

    lab: str | None
    state: Literal["ok", "warning", "failing"]
    summary: str
    failing: int
    late: int
    warnings: int
    running: int
    jobs: int
    next_due: datetime | None
    next: str | None
    url: str
    attention: list[Noticed]


class Feed(TypedDict):
    id: int
    name: str
    feed: str
    created: datetime
    last_used: datetime | None


class Feeds(TypedDict):
    feeds: list[Feed]


class NewFeed(TypedDict):
    feed: Annotated[str, Field(min_length=1, max_length=200, description="status, due, badge or badge/JOB")]
    name: NotRequired[Annotated[str, Field(max_length=100, description="for people: where it is used")]]


class MadeFeed(TypedDict):
    id: int
    name: str
    feed: str
    created: datetime
    url: Annotated[str, Field(description="its address with the secret; shown this once")]


class FeedMade(TypedDict):
    feed: MadeFeed


class JobWeek(TypedDict):
    job: str
    runs: int
    failures: int
    usual_s: float | None
    longest_s: float | None
    is_failing: bool


class Disk(TypedDict):
    free_bytes: int
    total_bytes: int
    free_before: Annotated[int | None, Field(description="what was free `days` ago")]
    days: float


class Digest(TypedDict):
    """How the lab did from `begin` to `end`, in words and figures."""

    title: str
    body: str
    level: Literal["info", "success", "warning", "failure"]
    lab: str
    begin: datetime
    end: datetime
    timezone: str
    jobs: int
    ran: list[JobWeek]
    before: Annotated[list[int] | None, Field(description="runs and failures of as long a time before")]
    runs: int
    failures: int
    slowest: list[str]
    silent: list[str]
    idle: Annotated[list[str], Field(description="jobs that were due and did not run")]
    paused: list[str]
    missed: int
    disk: Disk | None
    link: str
    next: datetime | None
    targets: list[str]


class OneDigest(TypedDict):
    digest: Digest


class SentDigest(TypedDict):
    title: str
    targets: list[str]


class QueuedDigest(TypedDict):
    digest: SentDigest
