"""Applications that are installed, by the names that the lab uses: bundles of macOS, programs in the PATH of Linux.

One that is found is one slot, whatever versions of it there are: two pieces of work cannot have it at once.
"""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

MACOS_FOLDERS: Final = ("/Applications", "/System/Applications", "~/Applications")
PATHS: Final = ("/usr/local/bin", "/opt/homebrew/bin", "/usr/bin", "/bin", "/snap/bin", "/var/lib/flatpak/exports/bin")
_MAKERS: Final = frozenset({"adobe", "affinity", "apple", "autodesk", "blackmagic", "google", "maxon", "microsoft"})
_WORD: Final = re.compile(r"[a-z]+|\d+")


def is_of(name: str, bundle: str) -> bool:
    """Whether the bundle is the application that people call `name`: the same words, beside its maker's and numbers.

    "Adobe Photoshop 2026" is `photoshop`; "Photoshop Elements" is not.
    """
    asked, words = _words(name), _words(bundle)
    for at in range(len(words) - len(asked) + 1):
        rest = words[:at] + words[at + len(asked) :]
        if words[at : at + len(asked)] == asked and all(w in _MAKERS or w.isdigit() for w in rest):
            return bool(asked)
    return False


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def bundles(folders: Iterable[str]) -> list[str] | None:
    """Names of the bundles in these folders and the folders in them; None when one is there and cannot be listed."""
    found: list[str] = []
    for folder in folders:
        try:
            inside = sorted(Path(folder).expanduser().iterdir())
            for entry in inside:
                if entry.suffix == ".app":
                    found.append(entry.stem)
                elif entry.is_dir():
                    found += [one.stem for one in sorted(entry.glob("*.app"))]
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return found


def read(names: Collection[str]) -> dict[str, int]:
    """How many of each there are, 0 or 1; one that could not be looked for is missing."""
    there = bundles(MACOS_FOLDERS) if sys.platform == "darwin" else []
    path = os.pathsep.join(dict.fromkeys((*os.environ.get("PATH", "").split(os.pathsep), *PATHS)))
    found: dict[str, int] = {}
    for name in names:
        if (there and any(is_of(name, bundle) for bundle in there)) or shutil.which(name, path=path):
            found[name] = 1
        elif there is not None:
            found[name] = 0
    return found
