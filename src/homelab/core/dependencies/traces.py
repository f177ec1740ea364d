"""What a job leaves for others, and what it takes that it did not make itself. Called by `core.dependencies.edges`."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from homelab.core.commands import Description, Effect, Match, below, match
from homelab.core.commands.patterns import DEEP, TREE, has_time_of_day, is_picked, is_plain, known_part

_LOG = re.compile(r"\.(?:log|err|errors?)(?:$|[.-])|(?:^|/)logs?/|_log$|\blogfile\b", re.IGNORECASE)
_PRODUCES = frozenset({"write", "append", "update", "make"})
_PERHAPS = frozenset({"mention"})  # a file given to a program nobody knows: it may be where its results go
_USES = frozenset({"read", "test", "update", "mention", "delete"})
_PRINTS = frozenset({">", ">>", "&>", "tee", "logging", "script", "python"})
TABLES = frozenset({"postgresql", "mysql", "mongodb", "database", "sqlite"})  # a row written leaves the others
_LOOKS = frozenset({"du", "ls", "wc", "stat", "file", "find", "tree", "identify", "ncdu", "dust", "md5sum"})


@dataclass(frozen=True, kw_only=True)
class Product:
    """Something that is there when the job is done. `is_log`: what programs print, or a name that says so."""

    effect: Effect
    is_log: bool


@dataclass(frozen=True, kw_only=True)
class Use:
    """Something the job takes from outside. `changes`: it writes the same thing again, or removes it."""

    effect: Effect
    changes: bool = False
    is_call: bool = False


@dataclass(frozen=True, kw_only=True)
class Traces:
    products: tuple[Product, ...]
    uses: tuple[Use, ...]

    def produces(self, target: str, place: str) -> bool:
        return any(
            p.effect.kind in _PRODUCES
            and p.effect.target == target
            and p.effect.place == place
            and not p.effect.is_guess
            for p in self.products
        )

    def takes(self, target: str, place: str) -> bool:
        return any(
            u.effect.target == target and u.effect.place == place and u.effect.kind in ("read", "update")
            for u in self.uses
        )


def traces(found: Description) -> Traces:
    """Of all effects those that matter between jobs: not what a job makes and removes, or makes and reads, itself."""
    effects = found.effects
    after = _Later(effects)
    products: dict[tuple[str, str, str, bool], Product] = {}
    uses: list[Use] = []
    made: set[tuple[str, str]] = set()
    own_trees: list[tuple[str, str]] = []
    for at, effect in enumerate(effects):
        key = effect.place, effect.target
        is_worth = _is_worth(effect)
        is_own = key in made or any(place == effect.place and below(effect.target, tree) for place, tree in own_trees)
        if effect.kind in _USES and is_worth and not is_own and not after.makes(at, effect):
            uses.append(Use(effect=effect, changes=after.changes(at, effect)))
        if effect.kind in _PRODUCES | _PERHAPS and is_worth and not after.removes(at, effect):
            products.setdefault((effect.kind, *key, effect.is_tree), Product(effect=effect, is_log=is_log(effect)))
        if effect.kind in ("write", "make") and effect.place not in TABLES:
            made.add(key)
            if effect.kind == "write" and (effect.is_tree or "." not in posixpath.basename(effect.target)):
                own_trees.append(key)
    for call in found.calls:
        if call.status != "program":
            effect = Effect(kind="read", target=call.path, by="call", source=call.source)
            uses.append(Use(effect=effect, is_call=True))
    return Traces(products=tuple(products.values()), uses=tuple(_distinct(uses)))


def is_log(effect: Effect) -> bool:
    if effect.place:
        return False
    if effect.is_output:
        return True
    if effect.by not in _PRINTS:
        return False  # a log that was moved or copied away is data
    return bool(_LOG.search(effect.target)) or effect.target.startswith("/var/log/")


def is_look(effect: Effect) -> bool:
    """Only counted, listed or measured."""
    return effect.by in _LOOKS


def _distinct(uses: Iterable[Use]) -> list[Use]:
    """The strongest use of each thing first met; a look is kept only where there is nothing better."""
    best: dict[tuple[str, str, str, bool], Use] = {}
    for use in uses:
        effect = use.effect
        key = effect.kind, effect.place, effect.target, effect.is_tree
        known = best.get(key)
        if known is None or (is_look(known.effect) and not is_look(effect)):
            best[key] = use if known is None or use.changes else replace(use, changes=known.changes)
        elif use.changes and not known.changes:
            best[key] = replace(known, changes=True)
    return list(best.values())


def _is_worth(effect: Effect) -> bool:
    """Whether another job could mean the same thing at all."""
    target = effect.target
    if effect.place:
        return DEEP not in target[:1]
    if target in ("/", "/tmp", "/var/tmp", "/dev/shm", "~"):  # noqa: S108
        return False
    # A name with the minute in it is found again only by a pattern.
    if has_time_of_day(target) and effect.kind not in ("write", "append", "make"):
        return False
    return len([part for part in known_part(target).split("/") if part]) > 0 or not target.startswith("/")


def _takes_all(removal: Effect, effect: Effect) -> bool:
    """Whether a removal surely takes this; one that picks some of many files (`upload-*`) leaves others."""
    if removal.is_tree and below(effect.target, removal.target) >= Match.GLOB and not is_picked(removal.target):
        return True
    if effect.target == removal.target:
        return True
    how = match(effect.target, removal.target)
    return how is Match.SAME or (how >= Match.GLOB and is_plain(effect.target) and not is_picked(removal.target))


class _Later:
    """What the job does to the same thing further on."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self._made: dict[tuple[str, str], int] = {}
        self._changed: dict[tuple[str, str], int] = {}
        self._removals: list[tuple[int, Effect]] = []
        for at, effect in enumerate(effects):
            key = effect.place, effect.target
            if effect.kind in _PRODUCES:
                self._made[key] = at
            if effect.kind in ("write", "update", "delete") and not effect.is_age_based:
                self._changed[key] = at
            if effect.kind == "delete" and not effect.is_age_based:
                self._removals.append((at, effect))

    def makes(self, at: int, effect: Effect) -> bool:
        """Asked for only to be made when it is not there."""
        return effect.kind == "test" and self._made.get((effect.place, effect.target), -1) > at

    def changes(self, at: int, effect: Effect) -> bool:
        changed = self._changed.get((effect.place, effect.target), -1)
        return effect.kind in ("update", "delete") or changed > at

    def removes(self, at: int, effect: Effect) -> bool:
        """Made and taken away again: nothing that is left for others."""
        return not effect.is_tree and any(
            number > at and removal.place == effect.place and _takes_all(removal, effect)
            for number, removal in self._removals
        )


def is_bare_glob(target: str) -> bool:
    """`FOLDER/*`: every file of a folder, whatever its name."""
    name = posixpath.basename(target)
    return TREE in target or (not is_plain(name) and known_part(name) == "" and len(name) <= 2)
