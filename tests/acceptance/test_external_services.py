"""A lab on a Postgres and a Prefect server that are somebody else's: used, asked, never started, never stopped."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.lab import Lab
from tests.service.prefect_site import Site, site


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("theirs")) as found:
        yield found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.down()


def _answers(theirs: Site) -> bool:
    user, _, password = theirs.auth.partition(":")
    return httpx.get(f"{theirs.url}/ready", auth=(user, password)).is_success


def test_a_lab_uses_the_postgres_and_prefect_it_is_given_and_leaves_them_running(theirs: Site, lab: Lab) -> None:
    lab.environment |= {"THEIR_DATABASE": theirs.database, "THEIR_PREFECT": theirs.auth}
    lab.up(
        f"""[lab]
name = "guest"
[postgres]
url = "env:THEIR_DATABASE"
[prefect]
url = "{theirs.url}"
auth = "env:THEIR_PREFECT"
[jobs.hello]
run = "echo hello"
"""
    )
    status = lab.json("status")
    states = {s["name"]: (s["state"], s["pid"]) for s in status["services"]}
    assert states["postgres"] == states["prefect"] == ("external", None)
    assert states["control"][0] == states["worker"][0] == "ready"
    lab.homelab("job", "run", "hello", "--wait")
    shown = lab.json("env")
    assert shown["PREFECT_API_AUTH_STRING"] == theirs.auth
    assert shown["DATABASE_URL"] == theirs.database
    password = theirs.database.split(":")[2].split("@")[0]
    everything = [str(status), *(p.read_text(errors="replace") for p in (lab.home / "logs").glob("*.log"))]
    assert not any(password in text for text in everything)
    assert (lab.home / "run/endpoints.json").stat().st_mode & 0o077 == 0
    lab.homelab("down")
    assert theirs.process.poll() is None
    assert _answers(theirs)


def test_a_server_that_does_not_answer_is_said_with_its_own_words(theirs: Site, lab: Lab) -> None:
    wrong = theirs.database.replace("/homelab?", "/nowhere?")
    lab.environment |= {"THEIR_DATABASE": wrong}
    lab.write("""[lab]\nname = "guest"\n[postgres]\nurl = "env:THEIR_DATABASE"\n[jobs.hello]\nrun = "true"\n""")
    late = lab.homelab("up", "-d", "--wait", "6", ok=(4,))
    assert 'database "nowhere" does not exist' in late.stderr
    assert _answers(theirs)
