"""What short commands cost."""

import sys
from pathlib import Path

from benchmarks.measuring import Row, child_cpu_s, peak_memory_bytes

HOMELAB = str(Path(sys.executable).with_name("homelab"))


def help_cpu(work: Path) -> list[Row]:
    seconds = child_cpu_s([HOMELAB, "--help"])
    return [Row("`homelab --help`, CPU", f"{seconds * 1000:.0f} ms", "100 ms", seconds <= 0.1)]


def inspect_cpu(work: Path) -> list[Row]:
    crontab = work / "crontab"
    lines = [
        f"{n % 60} {n % 24} * * {n % 7} /usr/local/bin/job-{n} --flag '{n}' > /var/log/job-{n}.log" for n in range(250)
    ]
    crontab.write_text("PATH=/usr/local/bin:/usr/bin:/bin\n" + "\n".join(lines) + "\n")
    seconds = child_cpu_s([HOMELAB, "cron", "inspect", str(crontab), "--json"], runs=5)
    return [Row("`cron inspect` of 250 lines, CPU", f"{seconds:.2f} s", "1 s", seconds <= 1)]


def inspect_with_scripts(work: Path) -> list[Row]:
    """257 lines of jobs that hand files on, 40 scripts below a root: shell and Python, of ordinary length."""
    scripts = work / "root/opt/lab"
    scripts.mkdir(parents=True)
    padding = "\n".join(f'if [ -n "$X{n}" ]; then echo "step {n}" >> /var/log/lab/{n}.log; fi' for n in range(60))
    for n in range(30):
        (scripts / f"step-{n}.sh").write_text(
            f"#!/bin/sh\nset -eu\nBASE=/srv/lab/{n}\n{padding}\n"
            f'for name in "$@"; do gzip -c "$BASE/$name.sql" > "$BASE/out/$name-$(date +%F).sql.gz"; done\n'
        )
    for n in range(10):
        (scripts / f"report-{n}.py").write_text(
            "import json\nimport sys\nfrom pathlib import Path\n\n"
            f'BASE = Path("/srv/lab/{n}")\n'
            + "".join(f"\n\ndef part_{m}(rows):\n    return [row for row in rows if row]\n" for m in range(40))
            + '\n\ndef main():\n    rows = part_1((BASE / "out").glob("*.gz"))\n'
            '    (BASE / f"{sys.argv[1]}.json").write_text(json.dumps(part_2(rows)))\n\n\nmain()\n'
        )
    lines: list[str] = []
    for n in range(257):
        commands = (
            f"pg_dump app-{n} > /srv/lab/{n % 30}/name-{n}.sql",
            f"/opt/lab/step-{n % 30}.sh name-{n - 1} name-{n}",
            f"python3 /opt/lab/report-{n % 10}.py r{n}",
            f"cd /srv/lab/{n % 30} && rsync -a out/ nas:/lab/{n % 30}/ >> /var/log/lab/rsync.log 2>&1",
        )
        lines.append(f"{n % 60} {n % 24} * * * {commands[n % 4]}")
    crontab = work / "crontab"
    crontab.write_text("\n".join(lines) + "\n")
    command = [HOMELAB, "cron", "inspect", str(crontab), "--root", str(work / "root"), "--json"]
    seconds = child_cpu_s(command, runs=5)
    size = peak_memory_bytes(command) / 1e6
    return [
        Row("`cron inspect` of 257 lines with 40 scripts, CPU", f"{seconds:.2f} s", "2 s", seconds < 2),
        Row("the same, memory at its largest", f"{size:.0f} MB", "150 MB", size < 150),
    ]


def year_of_minutes(work: Path) -> list[Row]:
    code = (
        "from datetime import UTC, datetime; from itertools import takewhile; from homelab.core.schedule import parse;"
        "start = datetime(2026, 1, 1, tzinfo=UTC); end = datetime(2027, 1, 1, tzinfo=UTC);"
        "n = sum(1 for _ in takewhile(lambda t: t < end, parse('* * * * *', 'America/New_York').fires(start)));"
        "assert n == 365 * 1440 - 1, n"
    )
    seconds = child_cpu_s([sys.executable, "-c", code], runs=3)
    return [Row("a year of a minutely schedule, CPU", f"{seconds:.2f} s", "2 s", seconds <= 2)]
