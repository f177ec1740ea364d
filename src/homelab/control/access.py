"""Who may do what: tokens, one-time sign-in links, browser sessions, and the record of who changed what.

Owns the tables `token`, `sign_in`, `session`, `audit` and `form_sent`; people and passkeys are `people`'s. Secrets are
256 random bits and are stored as SHA-256 only: with that much randomness a slow hash would add nothing. Called by
`control.api` for every request; never decides what a route does, never logs or returns a stored secret.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from homelab.control.people import People
from homelab.control.rows import Pool, rows
from homelab.core.errors import InputError, NotFoundError

Scope = Literal["read", "operate", "admin", "node"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_RANK: Mapping[str, int] = {"read": 1, "operate": 2, "admin": 3}

SIGN_IN_TTL = timedelta(minutes=10)
SESSION_TTL = timedelta(days=30)
MESH_SESSION_TTL = timedelta(hours=12)
"""Of a session that the mesh vouched for: who left the mesh is out by then, without anybody's hand."""
_CACHE_S = 5.0
"""How long a revoked token may still be honoured. Short enough to be of no use, long enough that a worker's calls do
not each cost a query."""
_CACHE_SIZE = 256


def allows(have: str, need: str) -> bool:
    """True when a holder of scope `have` may use a route of scope `need`. read < operate < admin; node stands apart."""
    if need == "node" or have == "node":
        return have == need
    return _RANK.get(have, 0) >= _RANK[need]


def hashed(secret: str) -> str:
    """What is stored of a secret: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret(prefix: str = "") -> str:
    """256 random bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks. `session` holds the hash of the browser session when the request came with a cookie, else ''. `via`:
    how they are known (`token`, `link`, `passkey NAME`, `tailscale`). `person`: None for tokens and guests. `address`:
    where they are, when who vouches for them says so. `node`: the one that a node's token speaks for; None for the
    token of control's own machine."""

    name: str
    scope: Scope
    session: str = ""
    via: str = "token"
    person: int | None = None
    address: str = ""
    node: str | None = None


class Access:
    """Tokens, links and sessions over one pool of the lab's own database."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.people = People(pool, self.forget)
        self._seen: dict[str, tuple[float, Identity | None]] = {}
        self.ended = asyncio.Event()
        """Set when a token or a session ends here; ask again for the next time. What stays open looks again then."""

    def forget(self) -> None:
        """A token or a session has ended: what was remembered of them is asked for anew."""
        self._seen.clear()
        self.ended.set()
        self.ended = asyncio.Event()

    async def ping(self) -> None:
        """Raises what the database raises when it does not answer."""
        async with self.pool.connection() as connection:
            await rows(connection, "select 1")

    # --- tokens

    async def register(self, name: str, scope: Scope, secret: str) -> None:
        """Make a token of a secret that already exists (a file of this home). Registering it again changes nothing; a
        new secret under the same name replaces the old one, so that a copied-away file can be made useless."""
        digest = hashed(secret)
        async with self.pool.connection() as connection:
            await connection.execute(
                "update token set revoked = now() where name = %s and hash <> %s and revoked is null", (name, digest)
            )
            await connection.execute(
                "insert into token (name, scope, hash) values (%s, %s, %s)"
                " on conflict (hash) do update set name = excluded.name, scope = excluded.scope, revoked = null",
                (name, scope, digest),
            )
        self._seen.clear()

    async def create_token(self, name: str, scope: Scope, *, ttl_s: float | None = None) -> dict[str, Any]:
        """A new token; the answer is the only place that ever shows its secret."""
        if not name or len(name) > 100 or not name.isprintable():
            raise InputError("a token needs a name of 1 to 100 printable characters")
        if scope not in SCOPES:
            raise InputError(f"no scope '{scope}'", hint="Scopes: " + ", ".join(SCOPES))
        if ttl_s is not None and not 0 < ttl_s <= 10 * 366 * 86400:
            raise InputError("a token lives between a second and ten years")
        secret = new_secret("hl_")
        async with self.pool.connection() as connection:
            made = await rows(
                connection,
                "insert into token (name, scope, hash, expires)"
                " values (%s, %s, %s, now() + make_interval(secs => %s)) returning id, created, expires",
                (name, scope, hashed(secret), ttl_s),
            )
        identity, created, expires = made[0]
        return {"id": identity, "name": name, "scope": scope, "created": created, "expires": expires, "token": secret}

    async def tokens(self) -> list[dict[str, Any]]:
        """Every token that is not revoked, oldest first, without anything to use it by."""
        names = ("id", "name", "scope", "created", "expires", "last_used")
        async with self.pool.connection() as connection:
            found = await rows(
                connection,
                "select id, name, scope, created, expires, last_used from token where revoked is null order by id",
            )
        return [dict(zip(names, row, strict=True)) for row in found]

    async def revoke(self, identity: int) -> None:
        """Make a token useless at once here, and within seconds in any other process."""
        async with self.pool.connection() as connection:
            done = await connection.execute(
                "update token set revoked = now() where id = %s and revoked is null", (identity,)
            )
            if done.rowcount == 0:
                raise NotFoundError(f"no token {identity}", hint="List them with: homelab token ls")
        self.forget()

    async def by_token(self, secret: str) -> Identity | None:
        """Who holds this token; None when it is unknown, expired or revoked.

        The table is asked by hash: an index lookup over SHA-256 gives nothing away by its timing, and the stored hash
        is compared once more in constant time.
        """
        digest = hashed(secret)
        clock = asyncio.get_running_loop().time()
        if (seen := self._seen.get(digest)) is not None and seen[0] > clock:
            return seen[1]
        async with self.pool.connection() as connection:
            found = await rows(
                connection,
                # `last_used` is for people: once a minute is enough, and a write for each call is not free.
                "with touched as (update token set last_used = now() where hash = %s"
                " and (last_used is null or last_used < now() - interval '1 minute'))"
                " select name, scope, hash, node from token where hash = %s and revoked is null"
                " and (expires is null or expires > now())",
                (digest, digest),
            )
        identity = None
        if found and hmac.compare_digest(found[0][2], digest):
            identity = Identity(name=f"token {found[0][0]}", scope=found[0][1], node=found[0][3])
            if len(self._seen) >= _CACHE_SIZE:
                self._seen.clear()
            self._seen[digest] = (clock + _CACHE_S, identity)
        return identity

    # --- one-time links and sessions

    async def create_sign_in(self, scope: Scope = "admin", *, person: int | None = None) -> str:
        """The secret of a link that opens one browser session within ten minutes: of a person, else of a guest."""
        if scope == "node" or scope not in SCOPES:
            raise InputError(f"no sign-in link with role '{scope}'", hint="Roles: read, operate, admin")
        secret = new_secret()
        async with self.pool.connection() as connection:
            await connection.execute("delete from sign_in where expires < now() - interval '1 day'")
            await connection.execute(
                "insert into sign_in (hash, scope, expires, person) values (%s, %s, %s, %s)",
                (hashed(secret), scope, datetime.now(UTC) + SIGN_IN_TTL, person),
            )
        return secret

    async def sign_in(self, secret: str, *, origin: str) -> str | None:
        """Use a link up and open a session; the session's secret (for the cookie), or None when the link is no good.

        One statement uses the link, so that two requests at once cannot both succeed.
        """
        async with self.pool.connection() as connection:
            used = await rows(
                connection,
                "update sign_in set used = now() where hash = %s and used is null and expires > now()"
                " returning scope, person",
                (hashed(secret),),
            )
        return await self.open_session(used[0][0], person=used[0][1], via="link", origin=origin) if used else None

    async def open_session(
        self, scope: str, *, person: int | None, via: str, origin: str, ttl: timedelta = SESSION_TTL
    ) -> str:
        """A new browser session; its secret."""
        session = new_secret()
        async with self.pool.connection() as connection:
            await connection.execute("delete from session where expires < now()")
            await connection.execute(
                "insert into session (hash, scope, expires, origin, person, via) values (%s, %s, %s, %s, %s, %s)",
                (hashed(session), scope, datetime.now(UTC) + ttl, origin[:200], person, via),
            )
        return session

    async def by_session(self, secret: str) -> Identity | None:
        """Who holds this browser session; None when it has ended."""
        digest = hashed(secret)
        async with self.pool.connection() as connection:
            found = await rows(
                connection,
                "with touched as (update session set last_used = now() where hash = %s"
                " and (last_used is null or last_used < now() - interval '1 minute'))"
                " select s.hash, s.scope, s.via, p.id, p.name, p.role from session s"
                " left join person p on p.id = s.person where s.hash = %s and s.expires > now()"
                " and (s.person is null or p.removed is null)",
                (digest, digest),
            )
        if not found or not hmac.compare_digest(found[0][0], digest):
            return None
        _, scope, via, person, name, role = found[0]
        allowed = scope if role is None or allows(role, scope) else role
        return Identity(name=name or "guest", scope=allowed, session=digest, via=via, person=person)

    async def sign_out(self, session: str) -> None:
        """End a session, named by its hash (`Identity.session`)."""
        async with self.pool.connection() as connection:
            await connection.execute("delete from session where hash = %s", (session,))
        self.forget()

    # --- forms

    async def claim_form(self, key: str) -> tuple[bool, str | None]:
        """(True, None) for whoever sends the form first; else (False, where it led, or None while it is not known)."""
        async with self.pool.connection() as connection:
            await connection.execute("delete from form_sent where time < now() - interval '7 days'")
            new = await rows(
                connection, "insert into form_sent (key) values (%s) on conflict do nothing returning key", (key,)
            )
            known = [] if new else await rows(connection, "select result from form_sent where key = %s", (key,))
        return bool(new), known[0][0] if known else None

    async def settle_form(self, key: str, result: str | None) -> None:
        """Note where the form led; None: nothing was done, and it may be sent again."""
        query = "delete from form_sent where key = %s" if result is None else (
            "update form_sent set result = %s where key = %s"
        )  # fmt: skip
        async with self.pool.connection() as connection:
            await connection.execute(query, (key,) if result is None else (result, key))

    # --- audit

    async def record(
        self,
        *,
        who: str,
        origin: str,
        action: str,
        subject: str,
        body: Mapping[str, Any] | None = None,
        via: str = "",
        result: str = "done",
    ) -> None:
        """Note that someone changed something, or was refused. `body` must hold no secret; NUL cannot be stored and is
        replaced."""
        text = json.dumps(body or {}, default=str).replace("\\u0000", "\\ufffd")
        async with self.pool.connection() as connection:
            await connection.execute(
                "insert into audit (who, origin, action, subject, body, via, result)"
                " values (%s, %s, %s, %s, %s::jsonb, %s, %s)",
                (who, origin, action, subject.replace("\0", "\ufffd")[:500], text, via, result),
            )

    async def audit(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries first."""
        names = ("id", "time", "who", "via", "origin", "action", "subject", "result", "body")
        async with self.pool.connection() as connection:
            found = await rows(
                connection,
                "select id, time, who, via, origin, action, subject, result, body from audit order by id desc limit %s",
                (limit,),
            )
        return [dict(zip(names, row, strict=True)) for row in found]
