"""The folders and files of one lab on one machine. Everything of a lab lies below one root; two roots share nothing.

Pure path arithmetic apart from `ensure` and `trouble`. Called by every process of the lab.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from homelab.core.errors import InputError

_FULL_BYTES = 256 * 1024


@dataclass(frozen=True)
class Home:
    """Paths below HOMELAB_HOME. Folders exist after `ensure`; secrets are in a 0700 folder, each file 0600."""

    root: Path

    @classmethod
    def default(cls) -> "Home":
        """HOMELAB_HOME, else the platform's user data folder."""
        if named := os.environ.get("HOMELAB_HOME"):
            return cls(Path(named).expanduser().absolute())
        import platformdirs

        return cls(Path(platformdirs.user_data_dir("homelab", appauthor=False)))

    @property
    def run(self) -> Path:
        """Sockets, pids, ports: what is only true while the lab runs."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def runs(self) -> Path:
        """One folder a run: journal and output."""
        return self.root / "runs"

    @property
    def definitions(self) -> Path:
        """Flow definitions the worker has seen, by digest."""
        return self.root / "definitions"

    @property
    def artefacts(self) -> Path:
        """Files that jobs save, by what is in them (`home.objects`): the lab's own on the machine of control, and the
        copies that are needed on a node."""
        return self.root / "artefacts"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    def is_node(self) -> bool:
        """Whether this is the home of a node that joined a lab on another machine: `node.json` says so."""
        return (self.root / "node.json").exists()

    def run_folder(self, run_id: str) -> Path:
        return self.runs / run_id[:2] / run_id

    def trouble(self) -> str:
        """Why what jobs print cannot be kept now; "" when it can."""
        for folder in (self.runs, self.logs):
            if not os.access(folder, os.W_OK):
                return f"{folder} cannot be written"
            if shutil.disk_usage(folder).free < _FULL_BYTES:
                return f"the disk of {folder} is full"
        return ""

    def ensure(self) -> "Home":
        """Make the folders. InputError names the path and the remedy when that is not possible."""
        try:
            for folder in (self.root, self.run, self.logs, self.secrets, self.runs, self.definitions):
                folder.mkdir(parents=True, exist_ok=True)
            self.secrets.chmod(0o700)
        except OSError as error:
            raise InputError(
                f"cannot use the state folder {self.root}: {error.strerror}",
                where=str(error.filename or self.root),
                hint="Set HOMELAB_HOME to a folder you can write to, or correct its owner and mode.",
            ) from error
        return self
