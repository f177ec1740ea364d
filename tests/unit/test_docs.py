"""The documents say what the code does: generated pages equal it, and everything a person can name has its place."""

import re
import subprocess
from pathlib import Path

import pytest

from homelab.cli import reference
from homelab.core.hazards import CODES
from homelab.notify.rules import KINDS
from homelab.tui.keys import markdown
from homelab.tui.views import VIEWS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("page", "file"),
    [("commands", "commands.md"), ("http", "http-api.md"), ("exits", "exit-statuses.md"), ("metrics", "metrics.md")],
)
def test_a_generated_page_equals_what_the_code_gives(page: str, file: str) -> None:
    made = reference.PAGES[page]()
    assert (DOCS / "reference" / file).read_text() == made, f"run: python -m homelab.cli.reference {page} > {file}"


def test_the_keys_of_the_terminal_are_those_of_its_table() -> None:
    assert markdown() in (DOCS / "how-to" / "watch-a-lab-by-keyboard.md").read_text(), "run: python -m homelab.tui.keys"


def test_every_view_of_the_terminal_is_described() -> None:
    text = (DOCS / "how-to" / "watch-a-lab-by-keyboard.md").read_text()
    assert [view.name for view in VIEWS if f"| `{view.name}` |" not in text] == []


def test_every_kind_of_notification_is_described() -> None:
    text = (DOCS / "reference" / "notifications.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []


def test_every_code_of_a_hazard_is_described() -> None:
    text = (DOCS / "explanation" / "hazards.md").read_text()
    assert [code for code in CODES if f"`{code}`" not in text] == []


def test_every_variable_of_ours_is_described() -> None:
    text = (DOCS / "reference" / "environment-and-limits.md").read_text()
    used: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        used |= set(re.findall(r"\bHOMELAB_[A-Z][A-Z_]*[A-Z]\b", path.read_text()))
    assert [name for name in sorted(used) if f"`{name}`" not in text] == []


def test_every_state_is_described() -> None:
    from homelab.core.jobs import RunState

    text = (DOCS / "reference" / "states.md").read_text()
    assert [state for state in RunState if f"`{state}`" not in text] == []


def test_each_guarantee_names_tests_that_there_are_and_each_chaos_test_shows_one() -> None:
    rows = [line for line in (DOCS / "reference" / "guarantees.md").read_text().splitlines() if "::" in line]
    named = {name for row in rows for name in re.findall(r"`(\w+/test_\w+\.py::test_\w+)`", row)}
    assert all("`chaos/" in row for row in rows), "each is shown on a whole lab"
    there = {
        f"{path.parent.name}/{path.name}::{name}"
        for path in (ROOT / "tests").glob("*/test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert sorted(named - there) == []
    assert {n.partition("::")[0] for n in there if n.startswith("chaos/")} == {
        n.partition("::")[0] for n in named if n.startswith("chaos/")
    }


def test_no_link_between_the_documents_is_dead() -> None:
    dead: list[str] = []
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        file = ROOT / name
        for target in re.findall(r"\]\(([^)#\s]+)", file.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (file.parent / target).exists():
                dead.append(f"{name}: {target}")
    assert dead == []
