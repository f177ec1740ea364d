"""What several files begin with."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from tests.browser import chromium
from tests.service.postgres_site import postgres
from tests.service.workers_site import Fleet, fleet


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a database of the file's own."""
    with postgres() as url:
        yield url


@pytest.fixture
async def lab(database: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """A control whose nodes are played by the test."""
    async with fleet(database, tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made
