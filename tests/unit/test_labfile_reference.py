"""The page and the schema say what the parser does."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from homelab.core.labfile import parse
from homelab.core.labfile.reference import SECTIONS, json_schema, page
from homelab.home import labfiles

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
MAKE = "regenerate with: python -m homelab.core.labfile.reference"


def test_the_page_is_the_one_made_from_the_settings() -> None:
    assert (REFERENCE / "lab-file.md").read_text() == page(), f"{MAKE} page > docs/reference/lab-file.md"


def test_the_schema_is_the_one_made_from_the_settings() -> None:
    assert json.loads((REFERENCE / "lab.schema.json").read_text()) == json_schema(), (
        f"{MAKE} schema > docs/reference/lab.schema.json"
    )


@pytest.mark.parametrize("table", SECTIONS, ids=lambda t: t.name)
def test_every_setting_has_a_row_with_default_and_reason(table: Any) -> None:
    text = (REFERENCE / "lab-file.md").read_text()
    for setting in table.settings:
        assert f"| `{setting.name}` |" in text
        assert setting.reason.endswith(".")
        assert setting.default


def test_the_example_on_the_page_is_a_good_lab_file() -> None:
    text = "\n".join(
        line[4:] for line in page().split("## Rules")[0].splitlines() if line.startswith("    ") or not line
    )
    lab, problems = parse({"lab.toml": text, "jobs/more.toml": ""}, main="lab.toml")
    assert lab is not None, problems
    assert [j.name for j in lab.jobs] == ["dump-db", "upload-db"]
    jsonschema.validate(tomllib.loads(text), json_schema())


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("lab.toml")), ids=lambda p: p.parent.name)
def test_every_example_is_a_good_lab_file_for_parser_and_schema(path: Path) -> None:
    files = labfiles.read(path)
    lab, problems = parse(files, main=next(iter(files)))
    assert lab is not None, problems
    for text in files.values():
        jsonschema.validate(tomllib.loads(text), json_schema())


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ('timeout = "1h30m"', True),
        ('timeout = "none"', True),
        ('timeout = "30x"', False),
        ('timeout = "1m1h"', False),
        ("timeout = 90", True),
        ('output_limit = "10MiB"', True),
        ('output_limit = "10M"', False),
        ('needs = "x"', True),
        ('needs = [{ job = "x", when = "always" }]', True),
        ('needs = [{ when = "always" }]', False),
        ("retries = 3", True),
        ("retries = { max = 3, dely = 1 }", False),
        ('overlap = "forbid"', True),
        ('overlap = "no"', False),
        ('secrets.A = "env:A"', True),
        ('secrets.A = "hunter2"', False),
        ("notify = false", True),
        ('notify.on = ["failed"]', True),
        ("environment.A = true", False),
        ("nonsense = 1", False),
    ],
)
def test_schema_and_parser_agree_on_a_setting(line: str, good: bool) -> None:
    text = f'jobs.x.run = "x"\n[jobs.a]\nrun = "x"\n{line}\n'
    lab, _ = parse({"lab.toml": text}, main="lab.toml")
    assert (lab is not None) == good
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(tomllib.loads(text)) == good
