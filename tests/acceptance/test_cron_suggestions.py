"""`homelab cron inspect` on jobs that hand files to each other, and on scripts that nobody should read."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CRONTAB = """\
BACKUPS=/srv/backups
0 2 * * * /opt/bin/dump.sh app
30 2 * * * cd /opt/bin && ./ship.sh
0 4 * * * flock -n /run/lock/nas.lock rsync -a /home/ nas:/home/
0 5 * * * flock -n /run/lock/nas.lock rsync -a /srv/www/ nas:/www/
"""
DUMP = '#!/bin/sh\nset -eu\ntouch "$RAN"\npg_dump "$1" | gzip > "$BACKUPS/$1-$(date +%F).sql.gz"\n'
SHIP = "#!/bin/sh\nrclone copy --max-age 24h $BACKUPS remote:backups\n"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    scripts = tmp_path / "root/opt/bin"
    scripts.mkdir(parents=True)
    for name, text in (("dump.sh", DUMP), ("ship.sh", SHIP)):
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    (tmp_path / "crontab").write_text(CRONTAB)
    return tmp_path


def inspect(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TZ": "UTC", "RAN": str(folder / "ran")}
    done = subprocess.run(
        [sys.executable, "-m", "homelab", "cron", "inspect", "crontab", "--root", "root", *arguments],
        cwd=folder, capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def document(folder: Path) -> dict[str, Any]:
    return json.loads(inspect(folder, "--json").stdout)


def test_jobs_that_hand_on_files_are_suggested_with_the_text_it_rests_on(there: Path) -> None:
    needs, exclusive = document(there)["suggestions"]
    assert (needs["kind"], needs["upstream_line"], needs["downstream_line"]) == ("needs", 2, 3)
    assert (needs["confidence"], needs["lines"]) == ("high", [2, 3])
    assert 'gzip > "$BACKUPS/$1-$(date +%F).sql.gz"' in needs["evidence"]
    assert {source["file"]: source["file_line"] for source in needs["sources"]} == {
        "/opt/bin/dump.sh": 4,
        "/opt/bin/ship.sh": 2,
    }
    assert (exclusive["kind"], exclusive["lines"], exclusive["upstream_line"]) == ("exclusive", [4, 5], None)
    shown = inspect(there).stderr
    assert "crontab:3: suggestion (high): ship needs dump-app (line 2)" in shown
    assert "/opt/bin/ship.sh:2" in shown
    assert "lines 4, 5 exclude each other" in shown
    assert not (there / "ran").exists(), "a script was run"


def test_what_cannot_be_read_is_a_note_and_the_rest_goes_on(there: Path) -> None:
    scripts = there / "root/opt/bin"
    (there / "outside.sh").write_text("cat /srv/backups/x\n")
    with (scripts / "huge.sh").open("wb") as file:
        file.truncate(50_000_000)
    (scripts / "binary").write_bytes(b"\x01\0\x02" * 100)
    (scripts / "circle").symlink_to("circle")
    (scripts / "out").symlink_to("../../../outside.sh")
    (scripts / "latin.sh").write_bytes(b"cat /srv/\xff\xfe\n")
    os.mkfifo(scripts / "pipe")
    (scripts / "deep.sh").write_text("echo " + "$(" * 1000 + "x" + ")" * 1000 + "\n")
    names = ("huge.sh", "binary", "circle", "out", "pipe", "deep.sh", "latin.sh")
    lines = [f"0 6 * * * /opt/bin/{name}" for name in names] + ["0 7 * * * echo " + "x" * 100_001]
    (there / "crontab").write_text(CRONTAB + "\n".join(lines) + "\n")
    found = document(there)
    notes = {p["message"]: p["line"] for p in found["problems"] if p["code"] == "not-analysed"}
    assert list(notes.values()) == [6, 7, 8, 9, 10, 11, 13]
    assert {p["severity"] for p in found["problems"] if p["code"] == "not-analysed"} == {"note"}
    assert any("leaves the root" in message for message in notes)
    assert len(found["jobs"]) == 12
    assert len(found["suggestions"]) == 2
