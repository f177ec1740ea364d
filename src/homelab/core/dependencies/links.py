"""How surely something that one job leaves is what another takes: the table of evidence and its weight.

Called by `core.dependencies.edges`. What each level means is told in docs/explanation/dependencies.md.
"""

import re
from dataclasses import dataclass
from typing import Literal

from homelab.core.commands import Effect, Match, below, is_plain, match
from homelab.core.commands.patterns import known_part
from homelab.core.dependencies.traces import TABLES, Product, Use, is_bare_glob, is_look

Confidence = Literal["high", "medium", "low"]
LEVELS: dict[Confidence, int] = {"high": 3, "medium": 2, "low": 1}
_NAMES: dict[int, Confidence] = {level: name for name, level in LEVELS.items()}

# Folders that hold everything: that a file lies below them says little.
_WIDE = re.compile(
    r"^/(?:$|(?:home|root|srv|etc|var|usr|opt|mnt|media|data|tmp|Users|Volumes|run|var/log|var/lib|var/www|var/tmp|usr/local"
    r"|usr/share|tank|storage|pool|shares?|export|nas|raid|array|volume\d*|disk\d*)/?$|(?:home|Users|mnt|media|Volumes)/[^/]+/?$)"
)
_DUMP = re.compile(
    r"back-?ups?|dump|export|archive|snapshot|bak(?:$|/|\.)|\.sql|\.dump|\.tar|\.tgz|\.gz|\.zst|\.bz2|\.xz", re.I
)
_COPIERS = frozenset(
    {
        "rsync",
        "rclone",
        "restic",
        "borg",
        "aws",
        "gsutil",
        "gcloud",
        "scp",
        "sftp",
        "cp",
        "tar",
        "zip",
        "7z",
        "duplicity",
    }
    | {"rdiff-backup", "lftp", "s3cmd", "s5cmd", "mc", "azcopy", "b2", "kopia", "tarsnap", "bup", "mksquashfs", "rar"}
    | {"syncoid", "unison", "git"}
)
_DUMPERS = frozenset(
    {"pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "mongodump", "pg_basebackup", "mydumper", "restic", "borg"}
)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One thing that goes from one job to another. `level`: 3 high, 2 medium, 1 low; `why`: a few words.

    `is_own`: a file named on both sides, so that a way around it does not make it superfluous.
    """

    level: int
    why: str
    upstream: Effect
    downstream: Effect
    is_own: bool

    @property
    def strength(self) -> tuple[int, int, int]:
        """To choose between links: level, then a file over a folder, then written over appended."""
        return self.level, int(self.is_own), {"write": 2, "make": 2, "update": 1}.get(self.upstream.kind, 0)


def confidence(level: int) -> Confidence:
    return _NAMES[level]


def link(product: Product, use: Use) -> Link | None:
    """The link from a product to a use; None when they have nothing to do with each other."""
    made, taken = product.effect, use.effect
    if made.place != taken.place:
        return None
    found = _grade(product, use)
    if found is None or found[0] < 1:
        return None
    level, why, is_own = found
    if made.is_guess or taken.is_guess:
        level = min(level, 2)
    return Link(level=level, why=why, upstream=made, downstream=taken, is_own=is_own)


def _grade(product: Product, use: Use) -> tuple[int, str, bool] | None:
    made, taken = product.effect, use.effect
    if made.place in TABLES:
        return _database(made, taken)
    if made.place in ("repository", "image", "images", "zfs"):
        if made.target == taken.target or (made.place == "zfs" and _is_dataset(made.target, taken.target)):
            return 2, "uses what it stores there", True
        return None
    if made.kind == "mention":
        return _mentioned(made, use)
    if use.effect.kind == "delete":
        return _deletion(product, use)
    how = match(made.target, taken.target) if not (made.is_tree or taken.is_tree) else Match.NONE
    if not made.is_tree and taken.is_tree and match(made.target, taken.target):
        how = match(made.target, taken.target)
    if how:
        return _file(product, use, how)
    if taken.is_tree or made.is_tree:
        return _tree(product, use)
    return None


def _mentioned(made: Effect, use: Use) -> tuple[int, str, bool] | None:
    """A program that is not known was given the file, and another job surely reads it."""
    taken = use.effect
    is_read = taken.kind == "read" and not taken.is_guess and not use.is_call and not use.changes and not is_look(taken)
    if not is_read or not made.is_guess or taken.is_tree or match(made.target, taken.target) < Match.DATED:
        return None
    return 2, "reads the file that is given to it", True


def _is_dataset(snapshot: str, sent: str) -> bool:
    """`tank/a@now` is a snapshot of tank/a, and one of those that are sent with tank."""
    made, wanted = snapshot.partition("@")[0], sent.partition("@")[0]
    return made == wanted or made.startswith(wanted + "/") or wanted.startswith(made + "/")


def _file(product: Product, use: Use, how: Match) -> tuple[int, str, bool] | None:
    made, taken = product.effect, use.effect
    level, why = 3, "reads the file it writes"
    if made.kind == "make" or taken.kind == "test":
        why = "asks for the file it makes"
    if how is Match.LOOSE:
        return 1, "may read a file it writes", False
    if how is Match.GLOB:
        why = "reads files of the name it writes"
        if not _is_telling(made.target, taken.target):
            level = 2
    if how is Match.DATED:
        why = "reads the file of a day that it writes"
    if use.is_call:
        return 2, "runs the script it writes", True
    if taken.kind == "mention":
        level, why = 2, "is given the file it writes"
    if taken.kind == "update":
        if made.kind in ("update", "append"):
            return None
        level, why = 2, "changes the file it writes"
    if product.is_log:
        level = _log_level(product, use)
        why = "reads the log it writes"
    elif made.kind == "append" and use.changes:
        level, why = min(level, 2), "takes away what it collects"
    if is_look(taken) and level > 2:
        level, why = 2, "looks at the file it writes"
    if made.by == "script" or taken.by == "script":
        level = min(level, 2 if how is Match.GLOB else level)
    return level, why, how is not Match.GLOB or not is_bare_glob(taken.target)


def _log_level(product: Product, use: Use) -> int:
    """A log is read to be reported; who only shortens, moves or copies it does not wait for it."""
    if use.changes or use.effect.kind in ("mention", "test") or use.effect.by in _COPIERS or is_look(use.effect):
        return 1
    return 2


def _is_telling(made: str, taken: str) -> bool:
    """Whether a glob says more than `everything`: an ending or a part of the name, in a folder that is known."""
    glob = taken if not is_plain(taken) else made
    folder = known_part(glob).rpartition("/")[0]
    return bool(folder) and not _WIDE.match(folder) and not is_bare_glob(glob)


def _tree(product: Product, use: Use) -> tuple[int, str, bool] | None:
    made, taken = product.effect, use.effect
    if made.target == taken.target:
        return _same_tree(product, use)
    if taken.is_tree and (how := below(made.target, taken.target)):
        return _into_tree(product, use, how)
    if made.is_tree and (how := below(taken.target, made.target)):
        if use.is_call:
            return 1, "runs a script of the folder it updates", False
        if how is Match.LOOSE or product.is_log or taken.kind == "test" or _WIDE.match(made.target):
            return 1, "reads in the folder it writes", False
        if taken.kind == "update" and made.kind == "update":
            return None
        return (2 if made.kind == "update" else 3), "reads in the folder it writes", False
    return None


def _same_tree(product: Product, use: Use) -> tuple[int, str, bool] | None:
    made, taken = product.effect, use.effect
    if taken.kind == "test":
        return None
    if taken.kind == "update" and made.kind == "update":
        return None
    if _WIDE.match(made.target) or product.is_log:
        return 1, "works on the folder it writes", False
    if taken.kind == "mention" or is_look(taken):
        return 2, "works on the folder it writes", True
    return 3, "works on the folder it writes", True


def _into_tree(product: Product, use: Use, how: Match) -> tuple[int, str, bool] | None:
    made, taken = product.effect, use.effect
    if taken.kind == "test" or how is Match.LOOSE:
        return None
    if product.is_log:
        return 1, "takes the folder in which its log lies", False
    depth = made.target.rstrip("/").count("/") - taken.target.rstrip("/").count("/")
    if taken.by in ("btrfs", "zfs"):
        return 1, "is in the snapshot of the folder it writes into", False
    if is_look(taken):
        return (2 if depth == 1 and not _WIDE.match(taken.target) else 1), "looks at the folder it writes into", False
    if taken.kind in ("mention", "update"):
        return (2 if depth <= 2 and not _WIDE.match(taken.target) else 1), "works on the folder it writes into", False
    why = "takes the folder it writes into"
    if _WIDE.match(taken.target):
        return (2 if _DUMP.search(made.target) and taken.by in _COPIERS else 1), why, False
    if taken.by in _COPIERS:
        return (2 if made.kind in ("append", "make") else 3), why, not made.is_tree
    if depth > 3:
        return 1, why, False
    return 2, why, False


def _deletion(product: Product, use: Use) -> tuple[int, str, bool] | None:
    """That something is removed says little about who has to wait for whom."""
    made, taken = product.effect, use.effect
    if product.is_log or made.is_tree:
        return None
    is_there = match(made.target, taken.target) >= Match.GLOB or (taken.is_tree and below(made.target, taken.target))
    if not is_there:
        return None
    return 1, "removes old files it wrote" if taken.is_age_based else "removes the file it writes", False


def _database(made: Effect, taken: Effect) -> tuple[int, str, bool] | None:
    """Tables of one name; a dump of a database that others write all day waits for nobody."""
    if taken.kind not in ("read", "update"):
        return None
    if made.place == "sqlite":
        return (3, "reads the table it writes", True) if made.target == taken.target else None
    one, _, table = made.target.partition(".")
    other, _, wanted = taken.target.partition(".")
    if match(one, other) is not Match.SAME:
        return None
    if taken.by in _DUMPERS:
        return 1, "dumps the database it writes to", False
    if table and wanted:
        how = match(table, wanted) or match(table.rpartition(".")[2], wanted.rpartition(".")[2])
        return (3 if how is Match.SAME else 2, "reads the table it writes", True) if how else None
    return 2, "reads the database it writes to", False
