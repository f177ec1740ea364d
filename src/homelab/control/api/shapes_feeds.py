"""What the routes of feeds take and give, as types (see `shapes`)."""

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
