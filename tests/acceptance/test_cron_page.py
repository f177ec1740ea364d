"""The review as a page, opened in a real browser."""

import os
import subprocess
from pathlib import Path

from tests import browser
from tests.lab import HOMELAB

CRONTAB = """\
MAILTO=ops@example.org
0 2 * * * pg_dump app > /backups/app.sql
30 2 * * * rclone copy /backups/app.sql remote:db
0 * * * * curl -fsS https://example.org/feed -o /srv/feed.json
30 6 * * 1-5 jq .items /srv/feed.json > /srv/items.txt
7 * * * * echo '<script>window.hacked = 1</script><img src=http://127.0.0.1:9/x onerror=alert(1)>'
9 * * * * printf '\x1b[2J\u202etxt.exe' {long}
11 * * * * curl -u ada:hunter22 https://example.org/dump -o /backups/more.sql
41 * * * * gzip -f /backups/more.sql
61 * * * * never
""".format(long="a" * 900)


def test_the_page_needs_nothing_else_and_fits_a_phone_in_both_themes(tmp_path: Path) -> None:
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMELAB_")} | {"TZ": "UTC"}
    arguments = (
        "cron",
        "import",
        "crontab.txt",
        "--dry-run",
        "--accept",
        "high",
        "--format",
        "html",
        "--out",
        "a.html",
    )
    subprocess.run([HOMELAB, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "lab.toml").exists()
    address = (tmp_path / "a.html").as_uri()
    with browser.page() as page:
        page.open(address)
        assert (page.requests, page.errors) == ([address], [])
        assert page.value("document.scripts.length + document.images.length") == 0
        assert page.value("'hacked' in window") is False
        assert page.value("document.querySelectorAll('#jobs tbody tr').length") == 8
        assert "hunter22" not in page.value("document.documentElement.outerHTML")
        assert "(not shown here: a secret is in it)" in page.value("document.body.innerText")
        grounds: dict[str, str] = {}
        for scheme in ("light", "dark"):
            page.look(width=1200, scheme=scheme)
            grounds[scheme] = page.value("getComputedStyle(document.body).backgroundColor")
            page.look(width=390, scheme=scheme)
            assert page.value("document.documentElement.scrollWidth") <= 390
            assert page.value("innerWidth") == 390
        assert grounds["light"] != grounds["dark"]
        assert (page.requests, page.errors) == ([address], [])
