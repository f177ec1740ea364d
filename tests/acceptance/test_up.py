"""`homelab up` when something stands in its way."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import Lab

from homelab.home.paths import Home
from homelab.stack.postgres import place_of


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.down()


def test_a_service_that_keeps_failing_is_said_with_its_reason_long_before_the_wait_is_over(lab: Lab) -> None:
    """A database folder of a version that the programs cannot read."""
    place = place_of(Home(lab.home).ensure())
    data = place.data
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9.6\n")
    if place.account:
        os.chown(data, place.account.pw_uid, place.account.pw_gid)
    lab.write('[lab]\nname = "old"\n[jobs.hello]\nrun = "true"\n')
    refused = lab.homelab("up", "-d", "--wait", "110", ok=(1,))
    assert "postgres is" in refused.stderr
    assert "PostgreSQL 9.6" in refused.stderr
    assert str(data) in refused.stderr
    assert "homelab status" in refused.stderr
    assert (data / "PG_VERSION").read_text() == "9.6\n", "nothing of it was touched"
