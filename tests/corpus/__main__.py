"""`python -m tests.corpus [-v]`: precision and recall of the suggestions, by confidence."""

import sys

from tests.corpus.measure import cases, table, total

PARTS = {"cases": ["cases"], "held out": ["held_out"], "later": ["later"], "all": ["cases", "held_out", "later"]}

for title, folders in PARTS.items():
    found = cases(*folders)
    print("\n".join(table(title, found)))
    if "-v" in sys.argv[1:] and title != "all":
        print("\n".join(f"    {line}" for line in total(found).mistakes))
