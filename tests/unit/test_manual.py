"""Manual pages: one for every command, from the same table as --help, without a warning of what sets them."""

import shutil
import subprocess

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.cli import manual
from homelab.cli.main import COMMANDS

PAGES = dict(manual.pages())


def test_every_command_and_each_of_its_own_has_a_page() -> None:
    assert {"homelab", *(f"homelab-{name}" for name in COMMANDS)} <= PAGES.keys()
    assert {"homelab-run-logs", "homelab-job-show", "homelab-cron-import"} <= PAGES.keys()
    assert manual.find(("run", "logs")) == "homelab-run-logs"
    assert manual.find(()) == "homelab"
    assert all(manual.find(words) is None for words in (("worker",), ("run", "none"), ("run", "logs", "more")))


def test_a_page_has_its_options_example_and_exit_statuses() -> None:
    page = PAGES["homelab-run-logs"]
    for part in (
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH OPTIONS",
        "\\-\\-follow",
        "homelab run logs last \\-f",
        "interrupted",
    ):
        assert part in page
    assert all(f"\\fB{name}\\fR" in PAGES["homelab"] for name in COMMANDS)


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff: tests/system-packages.sh installs one")
def test_groff_has_nothing_to_say_about_any_page() -> None:
    command = ["groff", "-man", "-ww", "-Tutf8"]
    done = subprocess.run(command, input="".join(PAGES.values()), text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff: tests/system-packages.sh installs one")
def test_hostile_help_is_text_on_a_page() -> None:
    text = '.so /etc/passwd\n\n\'br \\fBbold\\fR \\n(.f -x "q" é漢'
    command = click.Command("x", help=text)
    page = manual.page(command, "homelab x y", click.Context(command, info_name="y"))
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page, text=True, capture_output=True)
    assert done.stderr == "" and ".so /etc/passwd" in done.stdout and "\\fBbold\\fR \\n(.f" in done.stdout


@given(st.text())
def test_no_text_is_a_request(text: str) -> None:
    assert not manual._text(" ".join(text.split())).startswith((".", "'"))  # pyright: ignore[reportPrivateUsage]
