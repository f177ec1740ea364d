"""What the API takes and gives about who may do what: links, tokens, people, sessions, passkeys. As `shapes`."""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from homelab.control.api.shapes import Role


class NewLink(TypedDict):
    scope: NotRequired[Annotated[Role, Field(description="what the session may at most (admin)")]]
    person: NotRequired[
        Annotated[str, Field(description="whose it is; without: the owner for admin, else a guest with no name")]
    ]


class Link(TypedDict):
    url: str
    expires_s: int
    scope: Role
    person: str


class Me(TypedDict):
    name: str
    role: Role | Literal["node"]
    via: Annotated[str, Field(description="how you are known: token, link, passkey NAME, tailscale")]
    person: Annotated[bool, Field(description="false: a token or a guest, who can have no passkey")]


class Person(TypedDict):
    id: int
    name: str
    role: Role
    created: datetime
    passkeys: int
    sessions: int
    last_seen: datetime | None


class Everybody(TypedDict):
    people: list[Person]


class NewPerson(TypedDict):
    name: Annotated[str, Field(min_length=1, max_length=60)]
    role: NotRequired[Role]


class NewRole(TypedDict):
    role: Role


class NamedPerson(TypedDict):
    id: int
    name: str
    role: Role


class OnePerson(TypedDict):
    person: NamedPerson


class Session(TypedDict):
    id: Annotated[str, Field(description="names it; opens nothing")]
    person: str
    role: Role
    via: str
    created: datetime
    expires: datetime
    last_used: datetime | None
    origin: Annotated[str, Field(description="the address it was opened from")]
    is_this: Annotated[bool, Field(description="the one that asks")]


class Sessions(TypedDict):
    sessions: list[Session]


class Ended(TypedDict):
    ended: int


class Passkey(TypedDict):
    id: str
    person: str
    name: str
    host: Annotated[str, Field(description="the name of the lab it is for")]
    created: datetime
    last_used: datetime | None
    stopped: Annotated[str, Field(description="why it is not taken any more, or ''")]


class Passkeys(TypedDict):
    passkeys: list[Passkey]


class Options(TypedDict):
    options: Annotated[dict[str, Any], Field(description="for navigator.credentials, binary values base64url")]


class NewPasskey(TypedDict):
    name: Annotated[str, Field(min_length=1, max_length=60)]
    credential: Annotated[dict[str, Any], Field(description="what the browser answered, as its toJSON() gives it")]


class Answered(TypedDict):
    credential: Annotated[dict[str, Any], Field(description="what the browser answered, as its toJSON() gives it")]


class SignedIn(TypedDict):
    name: str


class Named(TypedDict):
    name: str


class Token(TypedDict):
    id: int
    name: str
    scope: Role | Literal["node"]
    created: datetime
    expires: datetime | None
    last_used: datetime | None


class Tokens(TypedDict):
    tokens: list[Token]


class NewToken(TypedDict):
    name: Annotated[str, Field(min_length=1, max_length=100, description="for people")]
    scope: NotRequired[Role | Literal["node"]]
    ttl_s: NotRequired[Annotated[float | None, Field(gt=0, description="seconds it lives")]]


class MadeToken(TypedDict):
    id: int
    name: str
    scope: Role | Literal["node"]
    created: datetime
    expires: datetime | None
    token: Annotated[str, Field(description="the secret; shown this once")]


class Made(TypedDict):
    token: MadeToken


class Revoked(TypedDict):
    revoked: int
