"""How the unit tests run: fast, and patient with a machine that does other things too."""

import gc
import os

import pytest
from hypothesis import settings

if "CI" not in os.environ:  # there, Hypothesis has a profile of its own
    settings.register_profile("shared-machine", deadline=None)
    settings.load_profile("shared-machine")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported stays: looking for garbage in it, thousands of times, is a tenth of the time of all tests."""
    del session
    gc.collect()
    gc.freeze()
