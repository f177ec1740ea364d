"""What the settings table says, for others: the JSON Schema for editors, and the page `docs/reference/lab-file.md`.

A test compares the files in `docs/reference` with these; `python -m homelab.core.labfile.reference schema` (or `page`)
prints them.
"""

import sys
from typing import Any, Final

from homelab.core.labfile.amounts import AFFINITY, CAPACITY, REQUIRES
from homelab.core.labfile.kinds import Setting, Table
from homelab.core.labfile.saving import ARTEFACTS, SAVE
from homelab.core.labfile.settings import (
    ACCESS,
    CONTROL,
    DEFAULTS,
    EXPECT,
    INCLUDABLE,
    JOB,
    JOB_NOTIFY,
    LAB,
    NAMED,
    NAMED_TABLES,
    NEED,
    NODE,
    NOTIFY,
    POSTGRES,
    PREFECT,
    QUEUE,
    RETRIES,
    SINGLE_TABLES,
    TOP,
    WORKER,
)

SECTIONS: Final[tuple[Table, ...]] = (
    LAB, JOB, NEED, RETRIES, EXPECT, JOB_NOTIFY, SAVE, REQUIRES, AFFINITY, DEFAULTS, QUEUE, WORKER, NOTIFY,
    POSTGRES, PREFECT, CONTROL, ACCESS, ARTEFACTS, NODE, CAPACITY,
)  # fmt: skip

_DEFS: Final[dict[str, Any]] = {
    "duration": {
        "description": 'A span of time: "30s", "15m", "1h30m", "26h"; a bare number is seconds.',
        "anyOf": [
            {"type": "number", "minimum": 0},
            {
                "type": "string",
                "pattern": r"^\s*(?:none|\d+(?:\.\d+)?|(?=\d)(?:\d+(?:\.\d+)?\s*w\s*)?(?:\d+(?:\.\d+)?\s*d\s*)?"
                r"(?:\d+(?:\.\d+)?\s*h\s*)?(?:\d+(?:\.\d+)?\s*m\s*)?(?:\d+(?:\.\d+)?\s*s\s*)?(?:\d+(?:\.\d+)?\s*ms)?)\s*$",
            },
        ],
    },
    "size": {
        "description": 'An amount of data: "512KiB", "10MiB", "500MB"; a bare number is bytes.',
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^\s*\d+(?:\.\d+)?\s*(?:B|[kK]B|[MGT]B|[KMGT]iB)?\s*$"},
        ],
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a lab file. It knows the shape; names, cycles and schedules only `check` knows."""
    properties: dict[str, Any] = {}
    for name in TOP:
        if name in SINGLE_TABLES:
            table = SINGLE_TABLES[name]
            properties[name] = {**table.schema(), "description": table.about}
        elif name in NAMED_TABLES:
            table = NAMED_TABLES[name]
            properties[name] = {"type": "object", "propertyNames": NAMED.schema, "additionalProperties": table.schema()}
        else:
            properties[name] = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "homelab lab file",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": _DEFS,
    }


_INTRODUCTION: Final = f"""# The lab file

`lab.toml` says what the lab should be. It is [TOML](https://toml.io). `homelab check` validates it and shows every
problem with its line and column; `homelab plan` shows what would change in the running lab, `homelab apply` changes it.
Nothing running is touched while the file has an error.

The lab file is the one named by `--lab FILE` or `HOMELAB_LAB`, else `./lab.toml`, else the one that `homelab up` last
used. [lab.schema.json](lab.schema.json) is its JSON Schema (`homelab check --schema` prints it): editors with a TOML
language server then complete and explain the settings.

    [lab]
    name = "home"
    timezone = "Europe/Berlin"
    include = ["jobs/*.toml"]

    [defaults]
    retries = {{ max = 2, delay = "1m" }}

    [jobs.dump-db]
    schedule = "0 2 * * *"
    run = "pg_dump app > /backups/app.sql"
    timeout = "30m"
    missed = "latest"

    [jobs.upload-db]
    needs = ["dump-db"]
    run = "rclone copy /backups/app.sql remote:db"
    secrets = {{ RCLONE_CONFIG_PASS = "file:rclone-password" }}

    [notify]
    urls = ["env:ALERT_URL"]

## Rules

- **Durations** are `"30s"`, `"15m"`, `"1h30m"`, `"26h"`, `"2d"` (units `w d h m s ms`, from large to small), or a
  number of seconds. **Sizes** are `"512KiB"`, `"10MiB"`, `"500MB"`, or a number of bytes.
- **Names** of jobs, queues and nodes have up to 100 letters, digits, dots, dashes and underscores and begin with a
  letter or digit, because they become file names.
- **Secrets** are named, never written: `env:NAME` (a line `NAME=VALUE` of the file `HOMELAB_HOME/secrets/environment`,
  mode 0600, else a variable of the environment in which `homelab up` is started), `file:PATH` (a relative path is below
  `HOMELAB_HOME/secrets`), `keychain:NAME` (an item of the macOS keychain).
- **Included files** have {", ".join(INCLUDABLE)} only. Their `[defaults]` hold for the jobs of that file, above those
  of the main file. A name may be defined once in all files together.
- **A setting of a job** counts before `[defaults]`. `environment`, `secrets`, `params`, `requires` and `retries` are
  merged, entry by entry; everything else is replaced.
- **A job without a schedule** runs after the jobs it needs, in their flow; when these have different schedules it needs
  one of its own. A job with neither schedule nor needs runs by hand (`homelab job run`).
- **`[agents.NAME]`** is accepted and kept; agents do not run yet.

## Settings
"""


def page() -> str:
    """The page of all settings, as Markdown."""
    parts = [_INTRODUCTION]
    for table in SECTIONS:
        owner = "node" if table is CAPACITY else "job"
        title = table.name if table.name.startswith("[") else f"{table.name} (of a {owner})"
        parts.append(f"### {title}\n\n{table.about}\n")
        if table is JOB:
            own = [s for s in JOB.settings if s not in DEFAULTS.settings]
            parts.append(_rows(own) + "\n\nAnd everything that [defaults] can have, below.\n")
        else:
            parts.append(_rows(table.settings) + "\n")
    return "\n".join(parts)


def _rows(settings: Any) -> str:
    lines = ["| setting | type | default | unit | what and why |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(s) for s in settings]
    return "\n".join(lines)


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default[:1] in '"[{0123456789' else setting.default
    cells = (f"`{setting.name}`", setting.kind.words, default, setting.unit, setting.reason)
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def main() -> None:
    """Print the schema or the page."""
    import json

    what = sys.argv[1] if len(sys.argv) > 1 else "page"
    sys.stdout.write(page() if what == "page" else json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
