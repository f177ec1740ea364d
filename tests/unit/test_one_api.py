"""Console and command line have no private way in: each question and act of theirs is one of a documented route."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from homelab.control.api import openapi
from homelab.control.api.app import ROUTES
from homelab.control.api.routes_nodes import NODE_ROUTES

SOURCE = Path(__file__).parents[2] / "src/homelab"
DOORS = ("control", "looking", "access", "people", "logs", "logwindow", "artefacts")
"""What handlers ask: the lab, what people look at, who may do what, the logs on disk, the files of jobs."""
OWN = {
    "looking.news": "wakes what keeps an open page fresh; others follow /api/v1/events",
    "access.record": "the note of a change; the API's is made around its handlers",
    "access.sign_in": "a browser's own session",
    "access.sign_out": "a browser's own session",
    "access.by_session": "a browser's own session",
    "people.of_login": "a browser's own session",
}


def doors_used(tree: ast.AST) -> set[str]:
    """`control.jobs`, `looking.now` ...: each attribute of a door, however it is held."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            holder = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if holder in DOORS and node.attr not in DOORS and not node.attr.isupper():
                found.add(f"{holder}.{node.attr}")
    return found


def reached(function: Callable[..., Any], seen: set[Any] | None = None) -> set[str]:
    """The doors that a handler uses, itself or by functions of the API that it names."""
    seen = set() if seen is None else seen
    if not isinstance(function, FunctionType) or function in seen:
        return set()
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = doors_used(tree)
    for node in ast.walk(tree):
        called = function.__globals__.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(called, FunctionType) and called.__module__.startswith("homelab.control.api"):
            found |= reached(called, seen)
    return found


def console_modules() -> Iterable[Path]:
    return sorted((SOURCE / "console").rglob("*.py"))


def documented() -> set[str]:
    return set().union(*(reached(route.handler) for route in ROUTES if not route.page))


def test_every_question_and_act_of_the_console_is_one_of_a_documented_route() -> None:
    given = documented()
    assert "looking.now" in given
    used = {path: doors_used(ast.parse(path.read_text())) for path in console_modules()}
    assert sum(map(len, used.values())) > 30
    private = {f"{path.name}: {door}" for path, doors in used.items() for door in doors - given - OWN.keys()}
    assert private == set()
    assert OWN.keys() - set().union(*used.values()) == set(), "an exception that nobody needs any more"


def test_the_console_imports_nothing_by_which_it_could_go_around_that() -> None:
    allowed = ("homelab.console", "homelab.core", "homelab.control.api", "homelab.control.access")
    allowed += ("homelab.control.people",)  # roles and names as values
    allowed += ("homelab.worker.runlog",)  # how a hostile line is made safe to show
    wrong: list[str] = []
    for path in console_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""] if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names] if isinstance(node, ast.Import) else []
            )  # fmt: skip
            wrong += [f"{path.name}: {n}" for n in names if n.startswith("homelab") and not n.startswith(allowed)]
    assert wrong == []


def called_paths(text: str) -> Iterator[str]:
    """Each path of the API that a module of Python names, with `*` for what is put into it."""
    nodes = list(ast.walk(ast.parse(text)))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [str(v.value) if isinstance(v, ast.Constant) else "*" for v in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = [node.value]
        else:
            continue
        path = "".join(parts).partition("?")[0]
        if path.startswith("/api/v1/") and " " not in path:
            yield path


def test_every_path_that_the_command_line_and_the_pages_scripts_call_is_documented() -> None:
    paths = list(openapi.document((*ROUTES, *NODE_ROUTES))["paths"])

    def is_documented(path: str) -> bool:
        wanted = re.compile(re.escape(path).replace(r"\*", r"[^ ]*"))
        return any(wanted.fullmatch(known) for known in paths)

    called = [(f.name, path) for f in sorted((SOURCE / "cli").glob("*.py")) for path in called_paths(f.read_text())]
    for script in sorted((SOURCE / "console/client").glob("*.js")):
        found = re.findall(r"[\"`](/api/v1/[^\"`?]*)", script.read_text())
        called += [(script.name, re.sub(r"\$\{.*?\}", "*", path)) for path in found]
    assert len(called) > 30
    assert [(file, path) for file, path in called if not is_documented(path)] == []
