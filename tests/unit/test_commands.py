"""What is found in commands and scripts: effects, locks, calls, and what is left alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.commands import Description, Refused, Script, describe, shown
from homelab.core.commands.patterns import Match, below, dated, globbed, match

ENVIRONMENT = {"HOME": "/home/me", "PATH": "/usr/bin:/bin", "LOGNAME": "me", "SHELL": "/bin/sh"}


def read(command: str, scripts: dict[str, str] | None = None, **environment: str) -> Description:
    texts = {path: Script(path=path, text=text) for path, text in (scripts or {}).items()}
    return describe(command, environment={**ENVIRONMENT, **environment}, folder="/home/me", scripts=texts)


def effects(command: str, scripts: dict[str, str] | None = None, **environment: str) -> list[str]:
    """Each as `KIND [PLACE:]TARGET`, a `/` behind it for a tree."""
    return [
        f"{e.kind} {e.place + ':' if e.place else ''}{shown(e.target)}{'/' if e.is_tree else ''}"
        for e in read(command, scripts, **environment).effects
    ]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pg_dump app > /b/app.sql", ["write /b/app.sql", "read postgresql:app"]),
        ("pg_dump -Fc -f /b/app.dump app", ["read postgresql:app", "write /b/app.dump"]),
        ("gzip -9 /b/app.sql", ["read /b/app.sql", "write /b/app.sql.gz", "delete /b/app.sql"]),
        ("gzip -kf *.sql", ["read /home/me/*.sql", "write /home/me/*.sql.gz"]),
        ("tar czf /b/w.tgz -C /var www", ["write /b/w.tgz", "read /var/www/"]),
        ("tar -C /srv -xzf /b/w.tgz", ["read /b/w.tgz", "write /srv/"]),
        ("cp -a /srv/wiki/ /b/wiki", ["read /srv/wiki/", "write /b/wiki/"]),
        ("cp /b/a.sql /mnt/usb/", ["read /b/a.sql", "write /mnt/usb/a.sql"]),
        ("mv out.tmp out.csv", ["read /home/me/out.tmp", "delete /home/me/out.tmp", "write /home/me/out.csv"]),
        ("rsync -az --delete /b/ nas:/vol/b/", ["read /b/", "write nas:/vol/b/"]),
        ("scp /b/a.sql me@nas:in/", ["read /b/a.sql", "write nas:~/in/a.sql"]),
        ("rclone copy /b remote:x", ["read /b/", "write remote:~/x/"]),
        ("aws s3 cp /b/a.sql s3://bucket/k/", ["read /b/a.sql", "write s3:bucket:/k/a.sql"]),
        ("restic -r /srv/repo backup /home /etc", ["read /home/", "read /etc/", "write repository:/srv/repo"]),
        ("curl -sfo /d/f.json https://example.org/f", ["write /d/f.json"]),
        ("curl -F file=@/d/f.json https://example.org", ["read /d/f.json"]),
        ("cd /d && wget -q https://example.org/a.xml", ["write /d/a.xml"]),
        ("sqlite3 /d/a.db '.backup /b/a.db'", ["read /d/a.db", "write /b/a.db"]),
        ("sqlite3 /d/a.db 'insert into t values (1)'", ["update /d/a.db", "write sqlite:/d/a.db.t"]),
        ("sqlite3 /d/a.db 'select 1 from t' > r.csv", ["write /home/me/r.csv", "read sqlite:/d/a.db.t"]),
        ("psql app -c 'delete from t'", ["write postgresql:app.t"]),
        ("touch /tmp/x.done", ["make /tmp/x.done"]),
        ("[ -f /tmp/x.done ] && rm /tmp/x.done", ["test /tmp/x.done", "delete /tmp/x.done"]),
        ("find /b -name '*.gz' -mtime +7 -delete", ["delete /b/**.gz"]),
        ("sed -i 's/a/b/' /d/x", ["update /d/x"]),
        ("dd if=/dev/sda of=/b/disk.img", ["write /b/disk.img"]),
        ("sort -u -o /d/s.txt /d/t.txt", ["read /d/t.txt", "write /d/s.txt"]),
        ("ssh nas 'tar cf /x.tar /data'", ["write nas:/x.tar", "read nas:/data/"]),
        ("docker exec db pg_dump app > /b/a.sql", ["write /b/a.sql", "read postgresql:app"]),
        ("sudo -u postgres nice -n 10 pg_dump -f /b/a app", ["read postgresql:app", "write /b/a"]),
        ("su - me -c 'cat /d/x'", ["read /d/x"]),
        ("echo 'select 1 from t' | sqlite3 /d/a.db", ["read sqlite:/d/a.db.t"]),
        ("mail -s x me < /d/r.txt", ["read /d/r.txt"]),
        ("A=/a; B=b; cat $A/$B.sql > $A/$B-$1.out", ["write /a/b-.out", "read /a/b.sql"]),
        ("tar czf /b/w-`date +%F`.tgz -C / w", ["write /b/w-%Y-%m-%d.tgz", "read /w/"]),
        ("sort > /d/out -u /d/in", ["write /d/out", "read /d/in"]),
        ("ls /d/*.tif | xargs -I{} cp {} /e/", ["read /d/*.tif", "read /d/*.tif", "write /e/*.tif"]),
        ("psql -d dw -c \"\\copy t from '/d/t.csv' csv\"", ["write postgresql:dw.t", "read /d/t.csv"]),
        ("make -C /srv/site", ["read /srv/site/", "update /srv/site/"]),
        ("apt-get update -qq", ["write /var/lib/apt/lists/"]),
        ("/opt/run --input /d/a --output=/d/b /d/c", ["read /d/a/", "write /d/b/", "read /d/c/"]),
    ],
)
def test_a_command_has_its_effects(command: str, expected: list[str]) -> None:
    assert effects(command) == expected


def test_variables_sourced_files_and_arguments_are_resolved() -> None:
    scripts = {
        "/opt/b.sh": '. "$(dirname "$0")/b.conf"\npg_dump "$1" > "${DEST:-/none}/$1-$(date +%F).sql"\n',
        "/opt/b.conf": "DEST=$BASE/dumps\n",
    }
    assert "write /srv/dumps/app-%Y-%m-%d.sql" in effects("/opt/b.sh app", scripts, BASE="/srv")
    assert "write /srv/dumps/app-%Y-%m-%d.sql" in effects("BASE=/srv /opt/b.sh app", scripts)


def test_a_variable_nobody_sets_is_the_same_variable_everywhere() -> None:
    one, other = (read(f"cat $DIR/{name}").effects[0].target for name in ("x", "x"))
    assert match(one, other) is Match.SAME
    assert match(one, read("cat $ELSE/x").effects[0].target) is not Match.SAME


def test_a_branch_that_the_arguments_rule_out_is_not_read() -> None:
    script = 'case "$1" in dump) cat /d/dump;; load) cat /d/load;; *) cat /d/all;; esac\n[ "$2" = x ] && cat /d/x'
    assert effects("/s dump y", {"/s": script}) == ["read /d/dump"]
    assert effects("/s $UNKNOWN x", {"/s": script}) == ["read /d/dump", "read /d/load", "read /d/all", "read /d/x"]


def test_a_loop_over_words_names_each_file() -> None:
    assert effects("for d in app wiki; do pg_dump $d > /b/$d.sql; done") == [
        "write /b/app.sql",
        "read postgresql:app",
        "write /b/wiki.sql",
        "read postgresql:wiki",
    ]


def test_scripts_are_found_by_path_folder_name_and_interpreter() -> None:
    scripts = {"/srv/a.sh": "cat /d/a", "/usr/bin/b": "#!/bin/sh\ncat /d/b"}
    for command in ("/srv/a.sh", "cd /srv && ./a.sh", "bash /srv/a.sh", "cd /srv; sh a.sh", "time nice /srv/a.sh"):
        assert effects(command, scripts) == ["read /d/a"], command
    assert effects("b", scripts) == ["read /d/b"]
    assert effects("lockrun-like-wrapper /usr/bin/b", scripts) == ["read /d/b"]


def test_a_source_is_the_exact_text_and_its_line() -> None:
    found = read("/s.sh", {"/s.sh": "#!/bin/sh\n\npg_dump app |\n  gzip > /b/a.gz\n"})
    source = next(e.source for e in found.effects if e.target == "/b/a.gz")
    assert (source.file, source.line, source.text) == ("/s.sh", 4, "pg_dump app |")


@pytest.mark.parametrize(
    ("command", "path", "is_shared", "waits"),
    [
        ("flock -n /l/a.lock -c 'sleep 1'", "/l/a.lock", False, False),
        ("flock -w 10 /l/a.lock sleep 1", "/l/a.lock", False, True),
        ("flock -s /l/a.lock sleep 1", "/l/a.lock", True, True),
        ("( flock -n 9 || exit 1; sleep 1 ) 9>/l/a.lock", "/l/a.lock", False, False),
        ("exec 200>/l/a.lock; flock 200; sleep 1", "/l/a.lock", False, True),
        ("mkdir /l/a.lock || exit", "/l/a.lock", False, False),
        ("lockfile -r 0 /l/a.lock", "/l/a.lock", False, True),
        ("setlock -n /l/a.lock sleep 1", "/l/a.lock", False, None),
        ("/x/run-with-lock.sh -n /l/a.lock /x/y", "/l/a.lock", False, None),
        ("[ -e /l/a.lock ] && exit; touch /l/a.lock; sleep 1; rm /l/a.lock", "/l/a.lock", False, None),
    ],
)
def test_locks_are_found_and_are_no_data(command: str, path: str, is_shared: bool, waits: bool | None) -> None:
    found = read(command)
    assert [(lock.path, lock.is_shared, lock.waits) for lock in found.locks] == [(path, is_shared, waits)]
    assert not [e for e in found.effects if e.target == path and not e.place]


def test_joins_wrappers_and_conditions_of_commands_are_kept() -> None:
    found = read("sudo a; b && c || d | e &\nf")
    assert [(c.join, c.name, c.wrappers, c.is_conditional) for c in found.commands] == [
        ("", "a", ("sudo",), False),
        (";", "b", (), False),
        ("&&", "c", (), True),
        ("||", "d", (), True),
        ("|", "e", (), True),
        ("&", "f", (), False),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "echo " + "$(" * 1000 + "x" + ")" * 1000,
        "cat /d/x; " + "`" * 4001,
        "x " * 60_000,
        "(" * 5000,
        "a && " * 9000 + "cat /d/x",
        "if true; then " * 500,
        "f() { f; f; }; f; " * 50,
        "for a in 1 2 3 4 5 6; do " * 12 + "x;" + "done;" * 12,
        "\x00\ud800'\"$((",
        "${a:=${b:=${c}}" * 300,
        "echo {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
    ],
)
def test_hostile_text_is_survived(text: str) -> None:
    found = read(text)
    assert len(found.commands) <= 5000


def test_what_is_left_out_says_why() -> None:
    assert "100000 bytes" in read("x" * 100_001).not_analysed[0].reason
    assert "nested" in read("echo " + "$(" * 1000 + "x" + ")" * 1000).not_analysed[0].reason
    assert "calls itself" in read("/s", {"/s": "/s"}).not_analysed[0].reason
    refused = {"/s": Refused(path="/s", reason="it is binary")}
    found = describe("/s; cat /d", environment=ENVIRONMENT, folder="/", scripts=refused)
    assert [(n.file, n.reason) for n in found.not_analysed] == [("/s", "it is binary")]
    assert [e.target for e in found.effects] == ["/d"]


WORDS = st.sampled_from(
    ["cat", "a", "/d/x", "$X", '"$Y"', "$(date +%F)", ">", "|", "&&", ";", "`ls`", "{", "}", "<<E", "\n"]
)


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map(" ".join)))
def test_no_text_raises_and_the_same_text_gives_the_same(text: str) -> None:
    assert read(text, {"/d/x": text}) == read(text, {"/d/x": text})


PIECES = st.lists(
    st.sampled_from(["a", "b", "/", "1", "2026", globbed("*"), globbed("?"), globbed("**"), dated("%F"), dated("%Y")]),
    max_size=8,
).map("".join)


@given(PIECES, PIECES)
def test_matching_has_no_direction(one: str, other: str) -> None:
    assert match(one, other) is match(other, one)
    assert (match(one, one) is Match.NONE) is False


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("/b/a.sql", "/b/a.sql", Match.SAME),
        ("/b/a.sql", "/b/b.sql", Match.NONE),
        ("/b/" + dated("%F") + ".sql", "/b/" + dated("%Y-%m-%d") + ".sql", Match.SAME),
        ("/b/" + dated("%F") + ".sql", "/b/2026-01-01.sql", Match.DATED),
        ("/b/" + dated("%F") + ".sql", globbed("/b/*.sql"), Match.GLOB),
        ("/b/" + dated("%F") + ".sql", globbed("/b/*.gz"), Match.NONE),
        ("/b/x/a.sql", globbed("/b/*.sql"), Match.NONE),
        ("/b/x/a.sql", globbed("/b/**.sql"), Match.GLOB),
        ("/b/a.log.1", globbed("/b/a.log.?"), Match.GLOB),
    ],
)
def test_two_names_meet_where_they_can(one: str, other: str, expected: Match) -> None:
    assert match(one, other) is expected


def test_a_file_is_below_its_folders_only() -> None:
    assert below("/b/x/a", "/b") is Match.SAME
    assert below("/b/" + dated("%F") + "/a", "/b") is Match.SAME
    assert below("/b", "/b") is Match.NONE
    assert below("/bb/a", "/b") is Match.NONE
    assert all(below(path, folder) is Match.NONE for path, folder in itertools.product(["/a/b"], ["/b", "/a/c"]))
