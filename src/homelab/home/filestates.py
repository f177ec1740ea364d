"""Whether paths of a machine are there and what they are, below a root or on this machine; looked at as asked for.

Nothing is opened. Used by `cli` for `core.hazards`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from homelab.core.hazards import FileState
from homelab.home.scripts import LeavesRoot, resolved

_MOST = 20_000


class FileStates(Mapping[str, FileState]):
    """States by the absolute path on that machine. `root` as in `home.scripts`: its links are followed inside it."""

    def __init__(self, root: Path | None) -> None:
        self._root = str(root.resolve()) if root is not None else "/"
        self._known: dict[str, FileState] = {}

    def __getitem__(self, path: str) -> FileState:
        """KeyError when it cannot be said: no permission to look, a link out of the root, too many questions."""
        if path not in self._known:
            if len(self._known) >= _MOST:
                raise KeyError(path)
            self._known[path] = self._look(path)
        return self._known[path]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._known))

    def __len__(self) -> int:
        return len(self._known)

    def _look(self, path: str) -> FileState:
        try:
            real = resolved(self._root, path)
            if real is None:
                return "missing"
            mode = os.lstat(real).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except (LeavesRoot, OSError, ValueError) as error:
            raise KeyError(path) from error
        if stat.S_ISDIR(mode):
            return "folder"
        return "executable" if mode & 0o111 else "plain"
