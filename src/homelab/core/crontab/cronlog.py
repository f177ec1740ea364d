"""What cron's own log says: which command it started when, for whom. Pure; the lines come from `home.cronlogs`.

Read are syslog's old stamps (local time, no year), its ISO 8601 ones (rsyslog, RFC 5424, `journalctl -o short-iso`,
macOS's `log show --style syslog`), and the journal's JSON. What cron writes: `(user) CMD (command)`; the command is
the text before the first `%`, with what cannot be printed in octal. Sources: cron's and cronie's `log_it`, `mkprints`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

_CMD = re.compile(r"\((?P<user>[^()\s]+)\) CMD \((?P<command>.*)")
_PROGRAM = r"(?:\S*/)?(?:crond?|CROND?|anacron)"
_OLD = re.compile(
    rf"(?:<\d+>)?(?P<stamp>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ +)?{_PROGRAM}\[\d+\]: (?P<rest>.*)"
)
_ISO = re.compile(
    r"(?:<\d+>)?(?:\d+ )?(?P<stamp>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\s+"
    rf"(?:\S+\s+)?{_PROGRAM}(?:\[\d+\]:| \S+ \S+ (?:-|\[.*?\]))\s+(?P<rest>.*)"
)
_ANY_OLD = re.compile(r"(?:<\d+>)?(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ")
_ANY_ISO = re.compile(
    r"(?:<\d+>)?(?:\d+ )?(?P<stamp>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\s"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SLACK = timedelta(days=1)
_IDENTIFIERS = frozenset({"CRON", "CROND", "cron", "crond"})


@dataclass(frozen=True, kw_only=True)
class CronStart:
    """Cron started a command. `command` is as it was logged; `is_cut`: the log cut its end off."""

    at: datetime
    user: str
    command: str
    is_cut: bool = False


@dataclass(kw_only=True)
class Stamps:
    """Times of one log, line by line, as UTC. `zone`: that of its machine. Old stamps are put into the year in which
    they lie between `since` and `now`; in the hour that a clock change repeats, the order of the lines decides."""

    zone: str
    since: datetime
    now: datetime
    last: datetime | None = None

    def of(self, line: str) -> datetime | None:
        """The time at the beginning of a line; None when it has none that is understood."""
        if line.startswith("{"):
            return _journal_time(line)
        if found := _ANY_ISO.match(line):
            return self.iso(found["stamp"])
        if found := _ANY_OLD.match(line):
            return self.old(found["stamp"])
        return None

    def iso(self, stamp: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(stamp.replace(",", "."))
        except ValueError:
            return None
        return at.astimezone(UTC) if at.tzinfo else self._local(at)

    def old(self, stamp: str) -> datetime | None:
        month = _MONTHS.index(stamp[:3]) + 1 if stamp[:3] in _MONTHS else 0
        fitting: list[datetime] = []
        earlier: list[datetime] = []
        oldest = min(self.since.year, self.now.year) - (8 if stamp.startswith("Feb 29") else 1)
        for year in range(oldest, self.now.year + 2):
            try:
                naive = datetime.fromisoformat(f"{year}-{month:02d}-{stamp[4:6].replace(' ', '0')}T{stamp[7:]}")
            except ValueError:
                continue  # no such day in this year, or no such month at all
            at = naive.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)
            if at <= self.now + _SLACK:
                earlier.append(naive)
                if at >= self.since - _SLACK:
                    fitting.append(naive)
        chosen = fitting[:1] or earlier[-1:]
        return self._local(chosen[0]) if chosen else None

    def _local(self, naive: datetime) -> datetime:
        """Lines are in order: a time that would go back by much is the second one of that name."""
        zone = ZoneInfo(self.zone)
        at = naive.replace(tzinfo=zone).astimezone(UTC)
        again = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
        if again > at and self.last is not None and at < self.last - timedelta(seconds=90):
            at = again
        self.last = at
        return at


def starts(lines: Iterable[str], stamps: Stamps) -> Iterator[CronStart]:
    """The commands that cron started, in the order of the log. Lines of others are passed over."""
    for line in lines:
        if "CMD (" not in line:
            continue
        found = _of_journal(line) if line.startswith("{") else _of_text(line.rstrip("\n"), stamps)
        if found is not None:
            yield found


def _of_text(line: str, stamps: Stamps) -> CronStart | None:
    if found := _ISO.match(line):
        at = stamps.iso(found["stamp"])
    elif found := _OLD.match(line):
        at = stamps.old(found["stamp"])
    else:
        return None
    return None if at is None else _start(at, found["rest"])


def _of_journal(line: str) -> CronStart | None:
    try:
        entry = cast("dict[str, Any]", json.loads(line))
        message = entry["MESSAGE"]
        at = _journal_time(line)
    except (ValueError, KeyError, TypeError):
        return None
    if at is None or entry.get("SYSLOG_IDENTIFIER") not in _IDENTIFIERS:
        return None
    return _start(at, str(message))


def _journal_time(line: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(json.loads(line)["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _start(at: datetime, message: str) -> CronStart | None:
    found = _CMD.match(message)
    if found is None:
        return None
    text = re.sub(r"^\[\d+\] ", "", found["command"].rstrip())  # Debian's can log the pid of the job before it
    is_cut = not text.endswith(")")
    return CronStart(at=at, user=found["user"], command=text.removesuffix(")").strip(), is_cut=is_cut)


def as_logged(command: str) -> str:
    """How cron writes a command into its log: control characters as `^X`, bytes beyond ASCII as `\\ooo`."""
    shown: list[str] = []
    for byte in command.encode("utf-8", "surrogateescape"):
        if byte < 32:
            shown.append("^" + chr(byte + 64))
        elif byte < 127:
            shown.append(chr(byte))
        else:
            shown.append("^?" if byte == 127 else f"\\{byte:03o}")
    return "".join(shown).strip()
