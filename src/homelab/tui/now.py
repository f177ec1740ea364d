"""*now*: what needs a person, each with its reason and the key that helps; what runs; what comes next."""

from typing import Any

from homelab.console import words
from homelab.tui import marks
from homelab.tui.layout import BLANK, Line, Place, Span, Target, cells, cut, fit, heading, line, wrap
from homelab.tui.view import Door, Frame, Json, Page, View

HELPS = {"look": "Enter look", "retry": "r retry", "run": "r run", "cancel": "c cancel", "why": "d why"}


def load(door: Door, _: Place) -> Json:
    return door.get("/api/v1/now")


def draw(answer: Json, _: Place, frame: Frame) -> Page:
    entries, running = answer["attention"], answer["running"]
    lines: list[Line] = []
    for number, entry in enumerate(entries):
        lines += _entry(entry, number, frame)
    if running:
        lines += [BLANK, heading("Running", words.counted(len(running), "job"))]
        lines += [_going(row, frame) for row in running]
    if answer["next"]:
        lines += [BLANK, heading("Next")]
        lines += [_due(row, frame) for row in answer["next"]]
    if lines and lines[0] == BLANK:
        lines = lines[1:]
    return Page(
        summary=summary(answer),
        lines=tuple(lines),
        is_moving=bool(running),
        empty="Nothing needs you, nothing runs, nothing is due.",
    )


def summary(answer: Json) -> Line:
    """The lab in one line: whether all is well, what runs, how many jobs there are."""
    count = len(answer["attention"])
    if not answer["jobs"]:
        return line(("No jobs yet.", "strong"), " Add some with: homelab cron import")
    verdict: Span = ("✓ All is well", "good")
    if count:
        verdict = (f"✗ {words.counted(count, 'thing')} need{'s' if count == 1 else ''} you", "bad")
    rest = [f"{len(answer['running'])} running", words.counted(answer["jobs"], "job")]
    if answer["paused"]:
        rest.append(f"{answer['paused']} paused")
    silent = [words.short(n["name"], 30) for n in answer["nodes"] if n["state"] == "unreachable"]
    spans: list[Span] = [verdict, (" · " + " · ".join(rest), "")]
    if silent:
        spans.append((f" · {words.listed(silent)} does not answer", "bad"))
    return line(*spans)


def _entry(entry: dict[str, Any], number: int, frame: Frame) -> list[Line]:
    job, run = str(entry.get("job") or ""), str(entry.get("run") or "")
    actions: list[str] = entry["actions"]
    elsewhere = Place(view="nodes" if entry.get("node") else "lab")
    opens = Place(view="run", run=run, job=job) if run else Place(view="job", job=job) if job else elsewhere
    target = Target(job=job, run=run, again="run" if "run" in actions else "retry" if run else "run", opens=opens)
    key = f"!{entry['kind']} {entry['subject']} {number if not job else ''}"
    since = marks.ago(entry.get("since"), frame.now) if entry.get("since") else ""
    helps = " · ".join(HELPS[name] for name in actions if name in HELPS)
    aside = "  ".join(text for text in (helps, since) if text)
    room = frame.width - 14 - cells(aside) - 1
    first = line(*_padded_state(entry["kind"]), (fit(str(entry["subject"]), room), "strong"), " ", (aside, "idle"),
                 key=key, target=target)  # fmt: skip
    texts = wrap(str(entry["reason"]), frame.width - 14, most=3)
    rest = [line(" " * 14, (text, ""), key=key, target=target) for text in texts]
    if said := str(entry.get("said") or ""):
        rest.append(line(" " * 14, ("│ ", "idle"), (cut(said, frame.width - 16), "quote"), key=key, target=target))
    if waiting := entry.get("waiting"):
        told = f"{words.listed(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for it."
        rest += [line(" " * 14, (t, "warn"), key=key, target=target) for t in wrap(told, frame.width - 14, most=2)]
    if hint := str(entry.get("hint") or ""):
        rest.append(line(" " * 14, ("→ ", "idle"), (cut(hint, frame.width - 16), "idle"), key=key, target=target))
    return [first, *rest]


def _padded_state(name: object, cells: int = 14) -> tuple[Span, ...]:
    ((text, tone),) = marks.state(name)
    return ((fit(text, cells), tone),)


def _going(row: dict[str, Any], frame: Frame) -> Line:
    target = Target(
        job=row["job"], run=row["id"], again="retry", opens=Place(view="log", run=row["id"], job=row["job"])
    )
    wide = min(36, max(20, frame.width // 3))
    how = marks.progress(row["started"], row["usual_s"], frame.now, min(24, frame.width // 6))
    if row["state"] == "retrying":
        how = ((f"attempt {row['attempt'] + 1} {marks.ago(row['retry_at'], frame.now)}", "warn"),)
    return line(*_padded_state(row["state"]), (fit(row["job"], wide), "strong"), "  ", *how,
                key=f"+{row['id']} {row['job']}", target=target)  # fmt: skip


def _due(row: dict[str, Any], frame: Frame) -> Line:
    due = words.moment(row["due"])
    at = "" if due is None else f"{due:%m-%d %H:%M} UTC"
    told = row["flow"] + (f" ({row['jobs']} jobs)" if row["jobs"] > 1 else "")
    # A flow has the name of its first job.
    target = Target(job=row["flow"], opens=Place(view="job", job=row["flow"]))
    return line((fit(marks.ago(row["due"], frame.now), 14), "idle"), (fit(told, frame.width - 14 - 18), ""),
                (fit(at, 18, right=True), "idle"), key=f"@{row['flow']}", target=target)  # fmt: skip


VIEW = View(name="now", aliases=("home",), about="what needs you, what runs, what is next", load=load, draw=draw)
