"""Who runs an imported job, in the text of the lab file: cron (`shadow = true`) or the lab. Pure text to text.

An adopted job says so in its `imported` table, with the time; an import never removes it, for it is no longer a live
line of its crontab. Called by `cli.cron` and `cli.handover`.
"""

from collections.abc import Collection, Mapping
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from homelab.core.errors import InputError


def located(texts: Mapping[str, str], source: str) -> dict[tuple[int, str], list[str]]:
    """The jobs that were imported from `source`, by line there and digest."""
    found: dict[tuple[int, str], list[str]] = {}
    for text in texts.values():
        jobs: Any = tomlkit.parse(text).unwrap().get("jobs", {})
        for name, table in jobs.items():
            imported = table.get("imported", {})
            if imported.get("file") == source:
                found.setdefault((imported.get("line"), imported.get("digest")), []).append(name)
    return found


def sources(texts: Mapping[str, str]) -> dict[str, str]:
    """From an imported job to the crontab that it came from."""
    found: dict[str, str] = {}
    for text in texts.values():
        jobs: Any = tomlkit.parse(text).unwrap().get("jobs", {})
        found |= {n: str(t["imported"]["file"]) for n, t in jobs.items() if "file" in t.get("imported", {})}
    return found


def taken_over(texts: Mapping[str, str]) -> dict[str, str]:
    """The jobs that the lab has taken over from cron, and when (ISO 8601)."""
    found: dict[str, str] = {}
    for text in texts.values():
        jobs: Any = tomlkit.parse(text).unwrap().get("jobs", {})
        found |= {n: t["imported"]["adopted"] for n, t in jobs.items() if "adopted" in t.get("imported", {})}
    return found


def shadowed(texts: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Cron runs these jobs: the lab only notes when it would have."""

    def change(table: Any, defaults: bool) -> None:
        del defaults
        table["shadow"] = True
        if "adopted" in table.get("imported", {}):
            del table["imported"]["adopted"]

    return _changed(texts, names, change)


def adopted(texts: Mapping[str, str], names: Collection[str], *, at: str) -> dict[str, str]:
    """The lab runs these jobs, from the moment `at` on."""

    def change(table: Any, defaults: bool) -> None:
        if defaults:
            table["shadow"] = False
        elif "shadow" in table:
            del table["shadow"]
        if "imported" in table:
            table["imported"]["adopted"] = at

    return _changed(texts, names, change)


def _changed(texts: Mapping[str, str], names: Collection[str], change: Any) -> dict[str, str]:
    docs: dict[str, Any] = {}
    for file, text in texts.items():
        try:
            docs[file] = tomlkit.parse(text)
        except TOMLKitError as error:
            raise InputError(f"not valid TOML: {error}", where=file, hint="Correct it first.") from error
    result = dict(texts)
    main: Any = {} if not docs else next(iter(docs.values())).get("defaults", {})
    for file, doc in docs.items():
        jobs = cast("Mapping[str, Any]", doc.get("jobs", {}))
        wanted = [name for name in jobs if name in names]
        default = doc.get("defaults", {}).get("shadow", main.get("shadow", False))
        for name in wanted:
            change(jobs[name], bool(default))
        if wanted:
            result[file] = tomlkit.dumps(doc)
    return result
