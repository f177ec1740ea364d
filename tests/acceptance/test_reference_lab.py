"""The example lab: every one of its 46 commands is run once, in the order of their dependencies, and leaves what it
should; the lab file is good; and it says what its crontab said."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from homelab.core import crontab, labfile
from homelab.core.jobs import Job, flows_of, topological

EXAMPLE = Path(__file__).parents[2] / "examples/reference-lab"

PRODUCTS = {
    "fetch-feeds": "content/fetched.json",
    "clean-articles": "content/articles.json",
    "tag-articles": "content/tags.json",
    "chunk-articles": "content/chunks.json",
    "index-chunks": "content/index.json",
    "brief-agents": "content/brief.json",
    "render-brief": "public/brief.html",
    "archive-brief": "content/archive/*.json",
    "take-in-uploads": "media/library/upload-000000.ppm",
    "scan-library": "media/scan.json",
    "make-thumbnails": "media/thumbnails/upload-000000.ppm",
    "read-facts": "media/facts.json",
    "build-gallery": "media/gallery.html",
    "publish-gallery": "public/gallery.html",
    "collect-certificates": "certificates/inventory.json",
    "check-certificates": "certificates/due.json",
    "renew-certificates": "certificates/live/prefect.lab",
    "reload-proxy": "proxy/reloaded",
    "dump-app": "backups/dumps/app.sql",
    "dump-memory": "backups/dumps/memory.sql",
    "compress-dumps": "backups/dumps/app.sql.gz",
    "copy-offsite": "offsite/*/memory.sql.gz",
    "backup-report": "reports/backup.txt",
    "backup-configs": "backups/archives/configs-*.tar.gz",
    "backup-agents": "backups/archives/agents-*.tar.gz",
    "test-restore": "reports/restore.txt",
    "sync-documents": "sync/documents/documents-00.txt",
    "sync-photos": "sync/photos/photo-00.ppm",
    "mirror-repositories": "mirrors/repos/site/site-00.txt",
    "heartbeat": "metrics/heartbeat.txt",
    "disk-usage": "metrics/disk.csv",
    "list-nodes": "metrics/nodes.json",
    "check-services": "metrics/services.csv",
    "pull-metrics": "metrics/sensor.csv",
    "warm-models": "models/small.warm",
    "evaluate-agents": "metrics/evaluation.csv",
    "hourly-report": "reports/hourly-*.txt",
    "daily-report": "reports/daily-*.txt",
    "weekly-report": "reports/weekly-*.txt",
    "rotate-logs": "logs/old/lab-*.log*",
    "compress-logs": "logs/old/lab-*.log.gz",
}
"""What a job leaves below the work folder; the others only look, and say what they saw."""


@pytest.fixture(scope="module")
def lab() -> labfile.Lab:
    lab, problems = labfile.parse({"lab.toml": (EXAMPLE / "lab.toml").read_text()}, main="lab.toml")
    assert problems == []
    assert lab is not None
    return lab


def run(job: Job, work: Path | None, *, attempt: int = 1, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **job.environment, **job.params, **more}
    environment |= {"HOMELAB_JOB": job.name, "HOMELAB_ATTEMPT": str(attempt)}
    if work is not None:
        environment["LAB_WORK"] = str(work)
    folder = EXAMPLE / job.cwd
    return subprocess.run([job.shell, "-c", job.run], cwd=folder, env=environment, capture_output=True, text=True)


def test_it_has_46_jobs_in_several_dags(lab: labfile.Lab) -> None:
    flows = flows_of(lab.jobs)
    assert len(lab.jobs) == 46
    assert sorted((len(flow.jobs) for flow in flows), reverse=True)[:5] == [8, 7, 6, 4, 2]
    assert {"mac1", "mac3", "mac4"} <= {tag for job in lab.jobs for tag in job.tags}
    assert {node.name for node in lab.nodes} == {"mac1", "mac3", "mac4"}


def test_every_job_runs_and_leaves_what_it_should(lab: labfile.Lab, tmp_path: Path) -> None:
    before = sorted(EXAMPLE.rglob("*"))
    for job in topological(lab.jobs):
        done = run(job, tmp_path)
        said = f"{job.name}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        if job.name == "pull-metrics":
            assert done.returncode == 75 and job.retries.max >= 1, said
            done = run(job, tmp_path, attempt=2)
        if job.name == "check-printer":
            assert done.returncode == 1 and "black is empty" in done.stderr, said
            continue
        assert done.returncode == 0, said
        assert done.stdout, f"{job.name} says nothing"
        assert done.stderr == "", said
        if pattern := PRODUCTS.get(job.name):
            made = list(tmp_path.glob(pattern))
            assert made and all(path.stat().st_size for path in made), f"{job.name} did not make {pattern}"
    assert sorted(EXAMPLE.rglob("*")) == before, "jobs write below the work folder only"


def test_every_job_can_run_again_at_once(lab: labfile.Lab, tmp_path: Path) -> None:
    for _ in range(2):
        for job in topological(lab.jobs):
            done = run(job, tmp_path, attempt=2)
            assert done.returncode == (1 if job.name == "check-printer" else 0), f"{job.name}\n{done.stderr}"


@pytest.mark.parametrize("name", ["heartbeat", "disk-usage"])
def test_without_a_work_folder_of_its_own_it_works_in_the_lab_s_home_or_not_at_all(
    lab: labfile.Lab, tmp_path: Path, name: str
) -> None:
    job = next(job for job in lab.jobs if job.name == name)
    assert run(job, None, HOMELAB_HOME=str(tmp_path)).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    without = run(job, None)
    assert without.returncode != 0 and "LAB_WORK" in without.stderr


def test_the_crontab_says_the_same_jobs_at_the_same_times(lab: labfile.Lab) -> None:
    """Where the crontab kept jobs apart by a later minute or a `sleep`, the lab file has `needs` instead."""
    lines = [line for line in (EXAMPLE / "crontab").read_text().splitlines() if re.match(r"[0-9*@]", line)]
    written: dict[str, str] = {}
    for line in lines:
        schedule, command = re.fullmatch(r"(@\S+|(?:\S+\s+){4}\S+)\s+(.*)", line).groups()  # type: ignore[union-attr]
        written[re.sub(r"^sleep \d+; ", "", command)] = schedule
    assert len(lines) == len(written) == 46
    assert set(written) == {job.run for job in lab.jobs}
    for job in lab.jobs:
        if job.schedule is not None:
            assert written[job.run] == job.schedule
        else:
            assert job.needs, f"{job.name} has neither a schedule nor needs"


def test_the_crontab_is_read_without_a_problem() -> None:
    found = crontab.parse((EXAMPLE / "crontab").read_text())
    assert len(found.jobs) == 46
    assert [problem for problem in found.problems if problem.severity == "error"] == []
