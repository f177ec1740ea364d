"""`python -m tests.corpus [-v]`: precision and recall of the suggestions, by confidence."""

import sys

from tests.corpus.measure import cases, table, total

for title, folders in (("cases", ["cases"]), ("held out", ["held_out"]), ("all", ["cases", "held_out"])):
    found = cases(*folders)
    print("\n".join(table(title, found)))
    if "-v" in sys.argv[1:] and title != "all":
        print("\n".join(f"    {line}" for line in total(found).mistakes))
