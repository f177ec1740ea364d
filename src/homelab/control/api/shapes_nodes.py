"""What the API takes and gives about nodes that come in: joining tokens, joining, leaving. As `shapes`."""

from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from homelab.core.placement import State

NodeName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class NewNodeToken(TypedDict):
    name: NodeName
    ttl_s: NotRequired[Annotated[float | None, Field(gt=0, description="seconds it is good for (3600)")]]


class NodeToken(TypedDict):
    name: str
    token: Annotated[str, Field(description="good for one joining; shown this once")]
    join: Annotated[str, Field(description="the command for the other machine")]
    url: str
    fingerprint: Annotated[str, Field(description="SHA-256 of the lab's authority, which the token names")]
    expires: datetime


class Authority(TypedDict):
    authority: Annotated[str, Field(description="the certificate of the lab's authority, as PEM")]


class Joining(TypedDict):
    token: Annotated[str, Field(max_length=200, description="the secret of a joining token")]
    node_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the node's own token")]
    name: NotRequired[Annotated[str, Field(max_length=100, description="instead of the token's")]]
    capacity: NotRequired[Annotated[dict[str, Any], Field(description="what it has, as in a lab file")]]
    version: NotRequired[Annotated[str, Field(max_length=100)]]


class Joined(TypedDict):
    name: str
    lab: Annotated[str, Field(description="fingerprint of the lab's authority")]
    lab_name: str
    version: Annotated[str, Field(description="of control")]


class ThisNode(TypedDict):
    name: str
    lab: str
    lab_name: str
    version: Annotated[str, Field(description="of control")]
    state: State
    heartbeat_age_s: Annotated[float | None, Field(description="None: never heard of")]


class Left(TypedDict):
    left: str
