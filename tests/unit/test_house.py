"""Rules of the house that a reader relies on."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    assert [str(p) for p in MODULES if p.stem in drawers or p.parent.name in drawers] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [str(p) for p in MODULES if not p.read_text().startswith('"""')] == []


def test_no_file_answers_too_many_questions() -> None:
    assert [str(p) for p in MODULES if len(p.read_text().splitlines()) > 600] == []
