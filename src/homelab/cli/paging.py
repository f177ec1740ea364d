"""Long output through the reader's pager, on a terminal only: `HOMELAB_PAGER`, else `PAGER`, else `less`.

Lines go to the pager as they come and no faster than it takes them: what it has not asked for is not read. Called by
commands whose answer may be longer than a screen; not for what follows, nor for JSON.
"""

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence

from homelab.cli import terminal

LESS = "FRX"
"""What `less` is told where `LESS` says nothing: end at once when all fits, keep colours, leave the text on screen."""


def command(environment: Mapping[str, str], *, default: str = "less") -> Sequence[str]:
    """The pager's program and arguments; empty for none: an empty name, `cat`, or one that cannot be read."""
    text = next((environment[name] for name in ("HOMELAB_PAGER", "PAGER") if name in environment), default)
    try:
        words = shlex.split(text)
    except ValueError:
        return ()
    return () if not words or words == ["cat"] else words


class _Pipe(io.TextIOWrapper):
    """The pager's end: what is written there is looked at on a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def paged(*, wanted: bool = True) -> Generator[None]:
    """Within it, standard output goes to the pager where there is a terminal and one is `wanted`; notes and hints wait
    until it has ended. When the reader ends the pager, what is inside ends too, quietly."""
    words = command(os.environ)
    if not (wanted and words and terminal.can_move() and shutil.which(words[0])):
        yield
        return
    environment = {**os.environ, "LESS": os.environ.get("LESS", LESS), "LV": os.environ.get("LV", "-c")}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    # Ctrl-C is the pager's: it stops its own search or following; reading on is what ends this program.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = _Pipe(process.stdin, encoding="utf-8", errors="replace")
    beside = terminal.Kept(sys.stderr)
    try:
        with (
            contextlib.suppress(BrokenPipeError),
            contextlib.redirect_stdout(pipe),
            contextlib.redirect_stderr(beside),
        ):
            yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        process.wait()
        signal.signal(signal.SIGINT, before)
        sys.stderr.write(beside.getvalue())
        sys.stderr.flush()
