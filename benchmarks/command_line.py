"""What short commands cost."""

import sys
from pathlib import Path

from benchmarks.measuring import Row, child_cpu_s

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


def year_of_minutes(work: Path) -> list[Row]:
    code = (
        "from datetime import UTC, datetime; from itertools import takewhile; from homelab.core.schedule import parse;"
        "start = datetime(2026, 1, 1, tzinfo=UTC); end = datetime(2027, 1, 1, tzinfo=UTC);"
        "n = sum(1 for _ in takewhile(lambda t: t < end, parse('* * * * *', 'America/New_York').fires(start)));"
        "assert n == 365 * 1440 - 1, n"
    )
    seconds = child_cpu_s([sys.executable, "-c", code], runs=3)
    return [Row("a year of a minutely schedule, CPU", f"{seconds:.2f} s", "2 s", seconds <= 2)]
