"""Carrying jobs over from cron to the lab and back, so that no due minute is lost and none runs twice.

Cron reads its tables at each minute and starts what is due. So a change begins and ends within one minute, after cron
has read and before it reads again (`core.crontab.adoption.wait_s`): minutes up to it are the one's, later ones the
other's. What cannot be finished in that minute is taken back in it. The journal (`home.adoptions`) says how far an
adoption came, so that one that was killed is finished or taken back by the next command. Called by `cli.cronadopt`.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from homelab.cli import cronimport
from homelab.cli.adoptionplan import AdoptionPlan, as_cron_reads, lost
from homelab.cli.client import Client, NoAnswerError
from homelab.cli.switch import (
    Say,
    apply,
    await_moment,
    body_of,
    difference,
    give_up_at,
    left_s,
    uninterrupted,
    write,
)
from homelab.core import labfile
from homelab.core.crontab import CronJob
from homelab.core.crontab import adoption as rules
from homelab.core.errors import HomelabError, InputError, NotFoundError, RefusedError, TimedOutError
from homelab.home import adoptions, labedit, labshadow
from homelab.home.adoptions import Adoption
from homelab.home.livecron import Target
from homelab.home.paths import Home

_REPAIR_S = 60.0
"""How long a lab that may have taken the jobs is asked to let go of them again."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release does with one crontab. `exact`: the bytes are again those before the first adoption."""

    target: Target
    adoptions: tuple[Adoption, ...]
    data: bytes
    turned: rules.TurnedBack
    exact: bool
    at: datetime | None = None
    lab_let_go: bool = False

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job for adoption in self.adoptions for job in adoption.jobs))


# --- over -------------------------------------------------------------------------------------------------------------


def adopt(plan: AdoptionPlan, home: Home, client: Client, say: Say, *, force: bool) -> Adoption:
    """Carry the jobs over. When it returns, cron has started all that is due up to this minute, and the lab starts all
    that is due later. On any error cron has the jobs as before. `force`: also where a run would be lost because the lab
    has a job at another time."""
    _check_lab(client, plan, say)
    at = datetime.now(UTC)
    adoption = Adoption(
        folder=Path(),
        target=plan.target,
        state="planned",
        at=at,
        lines=plan.lines,
        lab=str(plan.lab),
        lab_before=difference(plan.before, plan.after),
        lab_after=difference(plan.after, plan.before),
    )
    adoption = adoptions.begin(home, adoption, plan.data, plan.marked)
    by_line = {line.line: line.jobs for line in plan.lines}
    pairs = [(job, by_line[job.line]) for job in plan.choice.jobs]

    def check() -> None:
        _check_unchanged(plan.target, plan.data)
        _check_lab_files(plan.before)
        _check_lost(lost(plan.after, str(plan.lab), pairs, datetime.now(UTC)), "would run nowhere", force=force)

    with labedit.locked(plan.lab):
        try:
            await_moment(say, check)
        except BaseException:
            adoptions.save(replace(adoption, state="undone"))
            raise
        with uninterrupted(say):
            return _switch_to_lab(plan, adoption, client, say)


def _check_lab(client: Client, plan: AdoptionPlan, say: Say) -> None:
    say("asking the lab whether it takes the jobs")
    pending = client.post("/api/v1/plan", body_of(plan.before, plan.lab))
    if not pending["is_empty"]:
        raise RefusedError(
            f"the lab file has other changes that are not applied yet ({pending['summary']})",
            where=str(plan.lab),
            hint="Look at them and apply them first: homelab plan, homelab apply",
        )
    client.post("/api/v1/plan", body_of(plan.after, plan.lab))
    for job in client.get("/api/v1/jobs")["jobs"]:
        if job["name"] in plan.jobs and job["paused"]:
            raise RefusedError(
                f"job '{job['name']}' is paused in the lab: it would run nowhere",
                hint=f"Resume it first: homelab job resume {job['name']}",
            )


def _check_lost(found: Mapping[str, datetime], what: str, *, force: bool) -> None:
    if found and not force:
        name, at = min(found.items(), key=itemgetter(1))
        raise RefusedError(
            f"the lab has job '{name}' at another time than cron: its run of {at.astimezone():%Y-%m-%d %H:%M} {what}",
            hint="Try again after that time, or say --force. Nothing was changed.",
        )


def _check_unchanged(target: Target, data: bytes) -> None:
    if editors := target.editors():
        raise RefusedError(
            f"the {target.label} is open in an editor (pid {editors[0]}), which would undo the change",
            hint="Save and close it, then try again. Nothing was changed.",
        )
    if target.read() != data:
        raise RefusedError(
            f"the {target.label} was changed by somebody else just now; nothing was changed here",
            hint="Look at it, then try again.",
        )


def _check_lab_files(before: Mapping[str, str]) -> None:
    for name, text in before.items():
        if Path(name).read_text(encoding="utf-8") != text:
            raise RefusedError("the lab file was changed just now; nothing was changed here", where=name)


def _switch_to_lab(plan: AdoptionPlan, adoption: Adoption, client: Client, say: Say) -> Adoption:
    since = datetime.now(UTC)
    give_up = give_up_at(since)
    adoption = adoptions.save(replace(adoption, state="installing", since=since))
    was_asked = False
    try:
        write(adoption.lab_after)
        _check_unchanged(plan.target, plan.data)
        plan.target.install(adoption.folder / "adopted", timeout_s=left_s(give_up))
        if plan.target.read() != plan.marked:
            raise RefusedError(f"the {plan.target.label} was changed by somebody else at this very moment")
        was_asked = True
        apply(client, plan.after, plan.lab, since=since, deadline=give_up)
    except (HomelabError, OSError) as error:
        say("taking it back")
        try:
            _take_back(plan, adoption, client if was_asked else None, say)
        except (HomelabError, OSError) as second:
            raise HomelabError(
                f"{error}, and the crontab could not be put back: {second}", hint=f"Do it with: sh {adoption.restore}"
            ) from error
        what = error if isinstance(error, HomelabError) else HomelabError(str(error))
        hint = f"Nothing is changed: cron has the jobs as before. {what.hint}".strip()
        raise type(what)(what.message, hint=hint, where=what.where) from error
    return adoptions.save(replace(adoption, state="adopted"))


def _take_back(plan: AdoptionPlan, adoption: Adoption, client: Client | None, say: Say) -> None:
    """Cron gets its lines back, in the same minute, whatever else failed; a lab that may have heard lets go."""
    try:
        now = plan.target.read()
        texts = [line.text for line in plan.lines]
        wanted = plan.data if now == plan.marked else rules.turned_back(now, texts).data
        if now != wanted:
            source = adoption.folder / "original"
            if wanted != plan.data:
                source = adoption.folder / "turned-back"
                source.write_bytes(wanted)
            plan.target.install(source, timeout_s=10)
    finally:
        write(adoption.lab_before, only_if=adoption.lab_after)
    if client is not None:
        _let_go(client, plan, say)
    adoptions.save(replace(adoption, state="undone"))


def _let_go(client: Client, plan: AdoptionPlan, say: Say) -> None:
    """Have a lab that may have taken the jobs let go of them. One that cannot be reached is told of: cron has them."""
    deadline = time.monotonic() + _REPAIR_S
    while True:
        try:
            client.post("/api/v1/apply", body_of(plan.before, plan.lab))
        except HomelabError as error:
            if time.monotonic() > deadline:
                say(f"the lab does not say that it let go of the jobs ({error.message}): homelab apply, or homelab up")
                return
            time.sleep(0.3)
        else:
            return


def settle(adoption: Adoption, client: Client) -> Adoption:
    """Finish an adoption that was killed half way, or take note that it never began. What the crontab says decides."""
    if adoption.state == "planned":
        return adoptions.save(replace(adoption, state="undone"))
    lab = Path(adoption.lab)
    with labedit.locked(lab):
        now = adoption.target.read()
        turned = rules.turned_back(now, adoption.texts)
        if not turned.lines:
            write(adoption.lab_before, only_if=adoption.lab_after)
            apply(client, cronimport.read_lab(lab, timezone="UTC"), lab)
            return adoptions.save(replace(adoption, state="undone"))
        write(adoption.lab_after, only_if=adoption.lab_before)
        apply(client, cronimport.read_lab(lab, timezone="UTC"), lab, since=adoption.since)
        return adoptions.save(replace(adoption, state="adopted"))


# --- and back ---------------------------------------------------------------------------------------------------------


def plan_release(found: Sequence[Adoption], *, force: bool) -> Release:
    """What putting back the lines of these adoptions (all of one crontab, the oldest first) makes of it now."""
    target = found[0].target
    try:
        data = target.read()
    except NotFoundError:
        data = b""
    turned = rules.turned_back(data, [text for adoption in found for text in adoption.texts])
    if not turned.lines and not turned.live and not force:
        raise RefusedError(
            f"none of the adopted lines is left in the {target.label}: somebody has taken them out",
            hint=f"To have the old crontab back: sh {found[0].restore} --force\n"
            "To have the lab let go of the jobs all the same: homelab cron release --force",
        )
    exact = turned.data == found[0].original
    return Release(target=target, adoptions=tuple(found), data=data, turned=turned, exact=exact)


def release(plan: Release, home: Home, client: Client | None, say: Say, *, force: bool) -> Release:
    """Give the jobs back to cron: first the lab lets go, then the lines are live, both within one minute. `client` is
    None when the lab is down."""
    lab = Path(plan.adoptions[0].lab)
    try:
        before = cronimport.read_lab(lab, timezone="UTC") if lab.exists() else {}
        after = labshadow.shadowed(before, plan.jobs)
        _check_applied(client, before, after, lab)
    except (HomelabError, OSError, UnicodeDecodeError) as error:
        if client is not None:
            raise
        say(f"the lab file is left as it is: {error}")
        before = after = {}

    def check() -> None:
        _check_unchanged_or_absent(plan)
        if client is not None:
            _check_lost(lost(before, str(lab), _lines(plan), datetime.now(UTC)), "would be a second one", force=force)

    with labedit.locked(lab) if before else contextlib.nullcontext():
        await_moment(say, check)
        with uninterrupted(say):
            return _switch_to_cron(plan, home, client, before, after, lab)


def _lines(plan: Release) -> list[tuple[CronJob, tuple[str, ...]]]:
    """The lines that will be live again, as cron reads them, with their jobs of the lab."""
    numbers = set(plan.turned.lines)
    raw = plan.turned.data.split(b"\n")
    jobs = {line.text: line.jobs for adoption in plan.adoptions for line in adoption.lines}
    found = as_cron_reads(plan.target, plan.turned.data).jobs
    return [(job, jobs[raw[job.line - 1]]) for job in found if job.line in numbers]


def _check_applied(client: Client | None, before: Mapping[str, str], after: Mapping[str, str], lab: Path) -> None:
    parsed, problems = labfile.parse(dict(after), main=str(lab)) if after else (None, [])
    if parsed is None:
        why = problems[0].message if problems else "it is not there"
        hint = "Correct it (homelab check), or stop the lab (homelab down) and release again."
        raise InputError(f"the lab cannot let go of the jobs by its lab file: {why}", where=str(lab), hint=hint)
    if client is not None and not client.post("/api/v1/plan", body_of(before, lab))["is_empty"]:
        hint = "Apply them first: homelab plan, homelab apply. Or stop the lab (homelab down) and release again."
        raise RefusedError("the lab file has other changes that are not applied yet", where=str(lab), hint=hint)


def _check_unchanged_or_absent(plan: Release) -> None:
    if plan.data:
        _check_unchanged(plan.target, plan.data)


def _switch_to_cron(
    plan: Release, home: Home, client: Client | None, before: Mapping[str, str], after: Mapping[str, str], lab: Path
) -> Release:
    since = datetime.now(UTC)
    give_up = give_up_at(since)
    changed = difference(after, before)
    for adoption in plan.adoptions:
        adoptions.save(replace(adoption, state="releasing"))
    adoptions.hand_back(home, plan.jobs)
    let_go = False
    try:
        write(changed)
        let_go = client is not None and _has_let_go(client, plan, after, lab, since=since, deadline=give_up)
        if plan.turned.data != plan.data:
            _check_unchanged_or_absent(plan)
            source = plan.adoptions[-1].folder / "released"
            source.write_bytes(plan.turned.data)
            plan.target.install(source, timeout_s=max(left_s(give_up), 5))
            if plan.target.read() != plan.turned.data:
                raise RefusedError(f"the {plan.target.label} was changed by somebody else at this very moment")
    except (HomelabError, OSError):
        write(difference(before, after), only_if=changed)
        adoptions.forget_handed_back(home)
        if client is not None and let_go:
            apply(client, before, lab, since=since)
        for adoption in plan.adoptions:
            adoptions.save(adoption)
        raise
    for adoption in plan.adoptions:
        adoptions.save(replace(adoption, state="released"))
    if let_go:
        adoptions.forget_handed_back(home)
    return replace(plan, at=since, lab_let_go=let_go)


def _has_let_go(
    client: Client, plan: Release, after: Mapping[str, str], lab: Path, *, since: datetime, deadline: datetime
) -> bool:
    """Whether the lab has put the jobs in shadow; False when it is gone, and then it starts with what was handed back.
    Raises what a lab says that lives and refuses."""
    try:
        apply(client, after, lab, since=since, deadline=deadline)
    except (NoAnswerError, TimedOutError):
        try:
            shadow = client.get("/api/v1/lab")["shadow"]
        except HomelabError:
            return False
        if not set(plan.jobs) <= set(shadow):
            raise
    return True
