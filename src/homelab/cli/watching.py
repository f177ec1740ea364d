"""`--watch`: a command that draws its answer again whenever something happens in the lab, until Ctrl-C.

The event stream says when to look, so that news is there at once and a quiet lab costs nothing; every few seconds it
looks anyway, for ages and for what has no events. On a terminal the frame is painted over the last one in the
alternate screen; elsewhere each frame that differs is printed once, after a line with its time. Errors of a lab that
restarts are waited for. A command takes part by `cls=watching.Command` and `watching.shown`.
"""

import contextlib
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from homelab.cli import output, tables, terminal
from homelab.cli.client import Client, NoAnswerError
from homelab.core.errors import HomelabError, TimedOutError

EVERY_S = 5.0
SETTLE_S = 0.15
"""Events come in groups: what belongs together is drawn once."""
AGAIN_S = 1.0
"""A lab that does not answer is asked again after this."""
LEAST_S = 0.4
"""No frame sooner than this after the one before, however busy the lab is."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h\x1b[H", "\x1b[J\x1b[?2026l"
"""A frame is shown whole where the terminal knows synchronised output; others ignore the request."""

Draw = Callable[[], "bool | None"]
"""Prints one frame by `output`; True when there will be nothing new to show."""


class Command(click.Command):
    """A command with the option `--watch [SECONDS]`, handed to its function as `watch` (None: once)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params.append(
            click.Option(
                ["--watch"],
                type=click.FloatRange(min=0.2, max=3600),
                is_flag=False,
                flag_value=EVERY_S,
                metavar="[SECONDS]",
                help=f"Again whenever something happens, and every SECONDS ({EVERY_S:.0f}), until Ctrl-C.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_seconds(args))


def with_seconds(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--watch` made whole: a word behind it that is no number is an argument, not its value."""
    made: list[str] = []
    for place, argument in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        is_bare = argument == "--watch" and "--" not in made
        made.append(f"--watch={EVERY_S:g}" if is_bare and not _is_number(following) else argument)
    return made


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shown(every_s: float | None, draw: Draw, *, client: Callable[[], Client]) -> None:
    """Draw once, or (`every_s`) until it is over or Ctrl-C, the way out of a watch: status 130 and no word."""
    if every_s is None:
        draw()
        return
    news: queue.SimpleQueue[None] = queue.SimpleQueue()
    first = _frame(draw)  # errors of the first frame are the command's
    threading.Thread(target=_listen, args=(client, news), daemon=True).start()
    try:
        (_on_terminal if terminal.can_move() else _in_turn)(every_s, draw, first, news)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def _frame(draw: Draw) -> tuple[str, bool]:
    frame = terminal.Kept(sys.stdout)
    with contextlib.redirect_stdout(frame), contextlib.redirect_stderr(frame):
        is_over = draw()
    return frame.getvalue(), bool(is_over)


def _listen(client: Callable[[], Client], news: "queue.SimpleQueue[None]") -> None:
    """Put something in `news` for every event, as long as the process lives."""
    while True:
        with contextlib.suppress(HomelabError, OSError, ValueError):
            for line in client().lines("/api/v1/events", quiet_s=60):
                if line.startswith(b"data:"):
                    news.put(None)
            news.put(None)
        time.sleep(1)


def _frames(
    every_s: float, draw: Draw, first: tuple[str, bool], news: "queue.SimpleQueue[None]"
) -> Generator[tuple[str, str]]:
    """(frame, what is wrong) as they come: the newest good frame beside the words of an error that passes."""
    frame, is_over = first
    wait_s = every_s
    yield frame, ""
    while not is_over:
        drawn = time.monotonic()
        with contextlib.suppress(queue.Empty):
            news.get(timeout=wait_s)
            time.sleep(max(SETTLE_S, LEAST_S - (time.monotonic() - drawn)))
            while True:
                news.get_nowait()
        try:
            frame, is_over = _frame(draw)
        except (NoAnswerError, TimedOutError) as error:
            wait_s = min(every_s, AGAIN_S)
            yield frame, error.message
        else:
            wait_s = every_s
            yield frame, ""


def _in_turn(every_s: float, draw: Draw, first: tuple[str, bool], news: "queue.SimpleQueue[None]") -> None:
    last = None
    for frame, wrong in _frames(every_s, draw, first, news):
        if wrong or frame == last:
            continue
        last = frame
        sys.stdout.write(separated(frame, datetime.now(UTC)))
        sys.stdout.flush()


def separated(frame: str, now: datetime) -> str:
    """A frame for a pipe: JSON as one line, anything else below a line with its time."""
    if frame.startswith("{"):
        return json.dumps(json.loads(frame)) + "\n"
    return f"# {now:%Y-%m-%dT%H:%M:%SZ}\n{frame}"


def _on_terminal(every_s: float, draw: Draw, first: tuple[str, bool], news: "queue.SimpleQueue[None]") -> None:
    real, frame = sys.stdout, first[0]

    def on_resize(*_: object) -> None:
        news.put(None)

    before = signal.signal(signal.SIGWINCH, on_resize)
    real.write(_ENTER)
    try:
        for frame, wrong in _frames(every_s, draw, first, news):
            real.write(painted(frame, wrong, columns=terminal.columns(), rows=terminal.rows(), now=datetime.now()))  # noqa: DTZ005 - the clock on the wall
            real.flush()
    finally:
        signal.signal(signal.SIGWINCH, before)
        real.write(_LEAVE)
        real.flush()
    real.write(frame)


def painted(frame: str, wrong: str, *, columns: int, rows: int, now: datetime) -> str:
    """What to write so that the terminal shows this frame and nothing of the one before: a line of its own at the top,
    each line cleared to its end, what does not fit left out and said."""
    lines = frame.rstrip("\n").split("\n")
    head = output.painted(f"{now:%H:%M:%S}  Ctrl-C ends", "2")
    if wrong:
        head += "  " + output.painted(output.safe(wrong), "31")
    room = max(1, rows - 1)
    if len(lines) > room:
        left = len(lines) - room + 1
        lines = [*lines[: room - 1], output.painted(f"{left} more lines", "2")]
    shown_ = [tables.cut(line, columns) for line in (head, *lines)]
    return _BEGIN + "\x1b[K\n".join(shown_) + "\x1b[K" + _END
