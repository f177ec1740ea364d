"""How Hypothesis runs here: a machine that does other things too is no reason to call an example slow."""

import os

from hypothesis import settings

if "CI" not in os.environ:  # there, Hypothesis has a profile of its own
    settings.register_profile("shared-machine", deadline=None)
    settings.load_profile("shared-machine")
