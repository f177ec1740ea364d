"""The people of a lab, their sessions and their passkeys: what is kept of them, and what they may.

Owns the tables `person` and `passkey`, and of `session` what people see of it. A session allows what both it and its
person may, so that a role that is taken back counts at once. Part of `access.Access`; what a passkey proves is
`control.passkeys`'.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from homelab.control.rows import Pool, rows
from homelab.core.errors import InputError, NotFoundError, RefusedError

Role = Literal["read", "operate", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
SHORT = 16
"""Characters of a session's hash that name it; nothing can be done with them."""


@dataclass(frozen=True, kw_only=True)
class Passkey:
    """What is kept of one: `id` is the credential's, base64url."""

    id: str
    person: int
    name: str
    host: str
    public_key: bytes
    counter: int
    stopped: str = ""


def named(name: str, what: str = "person") -> str:
    """A name as it is kept. InputError for one that is empty, too long or not printable."""
    name = name.strip()
    if not name or len(name) > 60 or not name.isprintable():
        raise InputError(f"a {what} needs a name of 1 to 60 printable characters")
    return name


def a_role(role: str) -> Role:
    for known in ROLES:
        if role == known:
            return known
    raise InputError(f"there is no role '{role[:40]}'", hint="Roles: read, operate, admin")


class People:
    """People, sessions, passkeys over one pool. `ended` is called when something of theirs is not valid any more."""

    def __init__(self, pool: Pool, ended: Callable[[], None]) -> None:
        self._pool = pool
        self._ended = ended

    async def listing(self) -> list[dict[str, Any]]:
        """Everybody, with how many passkeys and sessions they have, by name."""
        names = ("id", "name", "role", "created", "passkeys", "sessions", "last_seen")
        async with self._pool.connection() as conn:
            found = await rows(
                conn,
                "select p.id, p.name, p.role, p.created,"
                " (select count(*) from passkey k where k.person = p.id and k.stopped = ''),"
                " (select count(*) from session s where s.person = p.id and s.expires > now()),"
                " (select max(coalesce(s.last_used, s.created)) from session s where s.person = p.id)"
                " from person p where p.removed is null order by p.name",
            )
        return [dict(zip(names, row, strict=True)) for row in found]

    async def find(self, name: str) -> dict[str, Any]:
        """The person of that name. NotFoundError with the nearest."""
        for person in (everybody := await self.listing()):
            if person["name"] == name:
                return person
        near = [p["name"] for p in everybody if p["name"].casefold()[:3] == name.casefold()[:3]]
        hint = "" if near else "List them with: homelab person ls"
        raise NotFoundError(f"there is no person '{name[:60]}'", hint=hint, nearest=near)

    async def owner(self) -> dict[str, Any]:
        """Whose lab it is: the first of its admins."""
        return min((p for p in await self.listing() if p["role"] == "admin"), key=lambda p: p["id"])

    async def add(self, name: str, role: str) -> dict[str, Any]:
        name, role = named(name), a_role(role)
        async with self._pool.connection() as conn:
            made = await rows(
                conn,
                "insert into person (name, role) values (%s, %s) on conflict do nothing returning id, created",
                (name, role),
            )
        if not made:
            raise RefusedError(f"there is a person '{name}' already", hint="Change the role: homelab person role")
        return {"id": made[0][0], "name": name, "role": role, "created": made[0][1]}

    async def of_login(self, login: str, role: Role) -> int:
        """The person that a login of the mesh is, made at the first visit; what they may by it is the lab file's."""
        async with self._pool.connection() as conn:
            await rows(
                conn,
                "insert into person (name, role) values (%s, %s) on conflict (name) where removed is null"
                " do update set role = case when person.role = 'admin' then person.role else excluded.role end"
                " returning id",
                (login, role),
            )
            return (await rows(conn, "select id from person where name = %s and removed is null", (login,)))[0][0]

    async def set_role(self, name: str, role: str) -> dict[str, Any]:
        """Another role, at once for every session of theirs. The last admin stays one."""
        person, role = await self.find(name), a_role(role)
        async with self._pool.connection() as conn:
            if role != "admin":
                await _keep_an_admin(conn, person["id"])
            await rows(conn, "update person set role = %s where id = %s returning id", (role, person["id"]))
        self._ended()
        return {**person, "role": role}

    async def remove(self, name: str) -> dict[str, Any]:
        """Nothing of theirs is valid any more: sessions, links, passkeys. The last admin stays."""
        person = await self.find(name)
        async with self._pool.connection() as conn:
            await _keep_an_admin(conn, person["id"])
            for query in (
                "delete from session where person = %s",
                "delete from sign_in where person = %s",
                "delete from passkey where person = %s",
                "update person set removed = now() where id = %s",
            ):
                await conn.execute(query, (person["id"],))
        self._ended()
        return person

    # --- sessions

    async def sessions(self, person: int | None = None) -> list[dict[str, Any]]:
        """The open sessions of all, or of one person, the newest first. `id` names one and opens nothing."""
        names = ("id", "person", "role", "via", "created", "expires", "last_used", "origin")
        async with self._pool.connection() as conn:
            found = await rows(
                conn,
                f"select left(s.hash, {SHORT}), coalesce(p.name, 'guest'), s.scope, s.via, s.created, s.expires,"  # noqa: S608
                " s.last_used, s.origin from session s left join person p on p.id = s.person"
                " where s.expires > now() and (%s::bigint is null or s.person = %s)"
                " order by coalesce(s.last_used, s.created) desc limit 500",
                (person, person),
            )
        return [dict(zip(names, row, strict=True)) for row in found]

    async def end_session(self, short: str, person: int | None = None) -> None:
        """End one session (of `person`, when given), named as `sessions` names it."""
        async with self._pool.connection() as conn:
            gone = await rows(
                conn,
                f"delete from session where left(hash, {SHORT}) = %s and (%s::bigint is null or person = %s)"  # noqa: S608
                " returning hash",
                (short, person, person),
            )
        if not gone:
            raise NotFoundError("there is no such session any more", hint="See them: GET /api/v1/sessions")
        self._ended()

    async def end_sessions(self, person: int) -> int:
        """End every session of one person; how many there were."""
        async with self._pool.connection() as conn:
            gone = await rows(conn, "delete from session where person = %s returning hash", (person,))
        self._ended()
        return len(gone)

    # --- passkeys

    async def passkeys(self, person: int | None = None) -> list[dict[str, Any]]:
        """The passkeys of all, or of one person, the oldest first."""
        names = ("id", "person", "name", "host", "created", "last_used", "stopped")
        async with self._pool.connection() as conn:
            found = await rows(
                conn,
                "select k.id, p.name, k.name, k.host, k.created, k.last_used, k.stopped from passkey k"
                " join person p on p.id = k.person where %s::bigint is null or k.person = %s order by k.created",
                (person, person),
            )
        return [dict(zip(names, row, strict=True)) for row in found]

    async def passkey(self, credential: str) -> Passkey | None:
        """The passkey of that credential, when its person is still of this lab."""
        async with self._pool.connection() as conn:
            found = await rows(
                conn,
                "select k.id, k.person, k.name, k.host, k.public_key, k.counter, k.stopped from passkey k"
                " join person p on p.id = k.person where k.id = %s and p.removed is null",
                (credential,),
            )
        if not found:
            return None
        identity, owner, name, host, key, counter, stopped = found[0]
        return Passkey(
            id=identity, person=owner, name=name, host=host, public_key=bytes(key), counter=counter, stopped=stopped
        )

    async def add_passkey(self, key: Passkey) -> None:
        async with self._pool.connection() as conn:
            made = await rows(
                conn,
                "insert into passkey (id, person, name, host, public_key, counter) values (%s, %s, %s, %s, %s, %s)"
                " on conflict do nothing returning id",
                (key.id, key.person, key.name, key.host, key.public_key, key.counter),
            )
        if not made:
            raise RefusedError("this passkey is registered already")

    async def used(self, key: Passkey, counter: int) -> bool:
        """Note a use. False when another use came between: then two hold the same key, or one answer came twice."""
        async with self._pool.connection() as conn:
            done = await rows(
                conn,
                "update passkey set counter = %s, last_used = now() where id = %s and counter = %s and stopped = ''"
                " returning id",
                (counter, key.id, key.counter),
            )
        return bool(done)

    async def stop_passkey(self, credential: str, why: str) -> None:
        """It is not taken any more; its owner sees why."""
        async with self._pool.connection() as conn:
            await conn.execute("update passkey set stopped = %s where id = %s", (why, credential))

    async def remove_passkey(self, credential: str, person: int | None = None) -> None:
        """Forget one passkey (of `person`, when given) and end the sessions it opened."""
        async with self._pool.connection() as conn:
            gone = await rows(
                conn,
                "delete from passkey where id = %s and (%s::bigint is null or person = %s) returning person, name",
                (credential, person, person),
            )
            for owner, name in gone:
                await conn.execute("delete from session where person = %s and via = %s", (owner, via_passkey(name)))
        if not gone:
            raise NotFoundError("there is no such passkey any more", hint="See them: GET /api/v1/passkeys")
        self._ended()


def via_passkey(name: str) -> str:
    """How a session that a passkey opened is named."""
    return f"passkey {name}"


async def _keep_an_admin(conn: Any, person: int) -> None:
    """RefusedError when nobody else is admin. Holds the table, so that two cannot go at once."""
    await conn.execute("lock table person in share row exclusive mode")
    others: Sequence[Any] = await rows(
        conn, "select 1 from person where role = 'admin' and removed is null and id <> %s limit 1", (person,)
    )
    if not others:
        raise RefusedError("the last admin must stay one", hint="Make somebody else admin first.")
