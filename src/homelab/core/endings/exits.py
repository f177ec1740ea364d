"""What exit statuses mean: by the conventions of shells, of sysexits.h, and by the manuals of well-known programs.

One table, from which `docs/reference/exit-statuses.md` is made. A status of a program is only said of an attempt when
the program is what the job runs, or, in other words, when it is among what it runs. Pure.
"""

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SHELL: Final = "the shell"
SYSEXITS: Final = "any program"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """`text` completes "... : ". `is_passing`: trying again may help by itself. `is_network`: it is about reaching
    another machine."""

    program: str
    code: int
    text: str
    source: str
    is_passing: bool = False
    is_network: bool = False


_SOURCES: Final = {
    SHELL: "POSIX.1-2024, Shell Command Language, 2.8.2; bash(1), EXIT STATUS",
    SYSEXITS: "sysexits.h of 4.3BSD, sysexits(3)",
    "rsync": "rsync(1), EXIT VALUES",
    "curl": "curl(1), EXIT CODES",
    "wget": "wget(1), EXIT STATUS",
    "ssh": "ssh(1), EXIT STATUS",
    "scp": "scp(1); ssh(1), EXIT STATUS",
    "grep": "grep(1), EXIT STATUS",
    "diff": "diff(1)",
    "cmp": "cmp(1)",
    "tar": "GNU tar manual, 3.1 Return Values",
    "git": "git(1); usage.c of git",
    "docker": "docker run reference, Exit status",
    "podman": "podman-run(1), Exit Status",
    "pg_dump": "pg_dump(1)",
    "psql": "psql(1), EXIT STATUS",
    "restic": "restic documentation, Scripting, Exit codes (0.17)",
    "borg": "borg documentation, Return codes (1.x)",
    "timeout": "timeout(1) of GNU coreutils",
    "flock": "flock(1) of util-linux",
    "find": "find(1), EXIT STATUS",
    "unzip": "unzip(1), DIAGNOSTICS",
    "zip": "zip(1), DIAGNOSTICS",
    "rclone": "rclone documentation, Exit code",
    "mysqldump": "mysqldump, MySQL 8 reference manual",
    "fsck": "fsck(8), EXIT STATUS",
    "smartctl": "smartctl(8), RETURN VALUES",
    "certbot": "certbot documentation",
    "ping": "ping(8) of iputils",
    "test": "POSIX.1-2024, test",
    "gzip": "gzip(1), DIAGNOSTICS",
    "systemctl": "systemctl(1), EXIT STATUS",
    "apt-get": "apt-get(8), DIAGNOSTICS",
}

_TEXTS: Final[Mapping[str, Mapping[int, str]]] = {
    SHELL: {
        126: "the command was found but may not be executed",
        127: "the command was not found",
        128: "the shell was given an exit status that is none",
    },
    SYSEXITS: {
        64: "it was called with wrong arguments",
        65: "its input was not as it should be",
        66: "its input could not be opened",
        67: "a user it needs is not known",
        68: "a host it needs is not known",
        69: "a service it needs was not available",
        70: "it met an error of its own",
        71: "the system refused something it needs",
        72: "a file of the system is not there",
        73: "its output could not be made",
        74: "reading or writing failed",
        75: "a passing failure: it may work later",
        76: "the other side did not keep to the protocol",
        77: "it was not permitted",
        78: "its configuration is wrong",
    },
    "rsync": {
        1: "wrong usage",
        2: "the two sides speak different protocols",
        3: "files or folders to copy from or to could not be had",
        5: "the client-server protocol could not be started",
        10: "the connection failed",
        11: "reading or writing a file failed",
        12: "the connection broke",
        20: "it was told to end",
        23: "some files could not be transferred",
        24: "some source files vanished before they were transferred",
        25: "the limit of deletions was reached",
        30: "sending or receiving data timed out",
        35: "the connection to the server timed out",
    },
    "curl": {
        2: "it could not start",
        3: "the URL is malformed",
        5: "the proxy's name could not be resolved",
        6: "the host's name could not be resolved",
        7: "no connection to the host could be made",
        22: "the server answered with an error status (400 or above)",
        23: "what it received could not be written",
        26: "a local file could not be read",
        28: "it timed out",
        35: "the TLS handshake failed",
        47: "too many redirects",
        51: "the server's certificate is not the right one",
        52: "the server answered nothing",
        55: "sending failed",
        56: "receiving failed",
        60: "the server's certificate cannot be verified",
        67: "the login was refused",
        78: "what the URL names is not there",
    },
    "wget": {
        1: "an error it has no number for",
        2: "wrong usage",
        3: "reading or writing a file failed",
        4: "the network failed",
        5: "the server's certificate cannot be verified",
        6: "the login was refused",
        7: "the protocol failed",
        8: "the server answered with an error status",
    },
    "ssh": {255: "the connection failed (any other status is that of the command over there)"},
    "scp": {255: "the connection failed"},
    "grep": {1: "no line matched", 2: "an error happened, such as a file that cannot be read"},
    "diff": {1: "the files differ", 2: "an error happened"},
    "cmp": {1: "the files differ", 2: "an error happened"},
    "tar": {1: "some files differ, or changed while they were read", 2: "a fatal error"},
    "git": {1: "it did not succeed, or found a difference", 128: "a fatal error", 129: "wrong usage"},
    "docker": {
        125: "docker itself failed, before the container ran",
        126: "the command in the container may not be executed",
        127: "the command in the container was not found",
    },
    "podman": {
        125: "podman itself failed, before the container ran",
        126: "the command in the container may not be executed",
        127: "the command in the container was not found",
    },
    "pg_dump": {1: "the dump failed"},
    "psql": {
        1: "a fatal error of its own, such as want of memory or a file that is not there",
        2: "the connection to the server broke or could not be made",
        3: "an error in a script with ON_ERROR_STOP set",
    },
    "restic": {
        1: "the command failed",
        3: "some source files could not be read; the snapshot is incomplete",
        10: "the repository is not there",
        11: "the repository is locked by another process",
        12: "the repository's password is wrong",
        130: "it was interrupted",
    },
    "borg": {1: "it ended with warnings", 2: "an error ended it", 128: "it was ended by a signal"},
    "timeout": {124: "the time it allows was over", 125: "timeout itself failed", 137: "the command was killed"},
    "flock": {1: "the lock is held by another process", 66: "the lock file could not be opened"},
    "find": {1: "not all files could be looked at"},
    "unzip": {1: "it ended with warnings", 2: "the archive is damaged", 9: "the archive was not found"},
    "zip": {12: "there was nothing to do", 14: "writing failed", 18: "a file could not be read"},
    "rclone": {
        1: "an error it has no number for",
        2: "wrong usage",
        3: "a folder was not found",
        4: "a file was not found",
        5: "a passing failure: a retry may help",
        6: "less serious errors",
        7: "a fatal error: a retry will not help",
        8: "the transfer limit was reached",
        9: "nothing was transferred",
    },
    "mysqldump": {2: "an error of the server or of the connection"},
    "fsck": {
        1: "errors were corrected",
        2: "the system should be started anew",
        4: "errors were left uncorrected",
        8: "it could not do its work",
    },
    "smartctl": {1: "wrong usage", 2: "the device could not be opened", 8: "the disk says that it is failing"},
    "certbot": {1: "it did not succeed"},
    "ping": {1: "no answer came", 2: "an error, such as a name that cannot be resolved"},
    "test": {1: "the condition is false", 2: "an error happened"},
    "gzip": {1: "an error happened", 2: "it ended with a warning"},
    "systemctl": {3: "the unit is not active", 4: "there is no such unit", 5: "the unit is not loaded"},
    "apt-get": {100: "an error happened"},
}
_PASSING: Final = {
    (SYSEXITS, 75), ("rsync", 10), ("rsync", 12), ("rsync", 24), ("rsync", 30), ("rsync", 35), ("curl", 6), ("curl", 7),
    ("curl", 28), ("curl", 52), ("curl", 55), ("curl", 56), ("wget", 4), ("ssh", 255), ("scp", 255), ("restic", 11),
    ("flock", 1), ("rclone", 5), ("psql", 2), ("ping", 1),
}  # fmt: skip
_NETWORK: Final = {
    ("rsync", 10), ("rsync", 12), ("rsync", 30), ("rsync", 35), ("curl", 5), ("curl", 6), ("curl", 7), ("curl", 28),
    ("curl", 35), ("curl", 52), ("curl", 55), ("curl", 56), ("wget", 4), ("ssh", 255), ("scp", 255), ("psql", 2),
    ("git", 128), ("ping", 1), ("ping", 2), (SYSEXITS, 68), (SYSEXITS, 69), ("mysqldump", 2),
}  # fmt: skip


def _all() -> Iterator[Meaning]:
    for program, texts in _TEXTS.items():
        for code, text in texts.items():
            yield Meaning(
                program=program,
                code=code,
                text=text,
                source=_SOURCES[program],
                is_passing=(program, code) in _PASSING,
                is_network=(program, code) in _NETWORK,
            )


EXITS: Final[tuple[Meaning, ...]] = tuple(_all())
_BY: Final = {(meaning.program, meaning.code): meaning for meaning in EXITS}

SIGNALS: Final = {
    "SIGHUP": "its terminal or its starter went away",
    "SIGINT": "it was interrupted",
    "SIGQUIT": "it was told to quit",
    "SIGILL": "it ran an instruction that the processor does not have",
    "SIGABRT": "it aborted itself",
    "SIGBUS": "it read memory in a way that is not possible",
    "SIGFPE": "it calculated what cannot be calculated",
    "SIGKILL": "it was killed, which no program can refuse",
    "SIGSEGV": "it used memory that is not its own",
    "SIGPIPE": "what read its output had gone",
    "SIGALRM": "its own alarm went off",
    "SIGTERM": "it was asked to end",
    "SIGXCPU": "it used up the processor time it is allowed",
    "SIGXFSZ": "a file became larger than it is allowed",
}


def signal_name(number: int) -> str:
    """`SIGKILL`; "" for a number that is no signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def meaning_for(code: int, programs: Sequence[str], *, single: bool) -> Meaning | None:
    """What this status means: by the program that the job is (`single`), by the shell's convention, or by the first of
    the programs it runs that has a meaning for it. None: nothing is known."""
    if single and programs and (own := _BY.get((programs[0], code))) is not None:
        return own
    if code in (126, 127):
        return _BY[SHELL, code]
    found = next((meaning for name in programs if (meaning := _BY.get((name, code))) is not None), None)
    return found or _BY.get((SYSEXITS, code)) or _BY.get((SHELL, code))


def page() -> str:
    """The reference of exit statuses, as Markdown."""
    lines = [
        "# Exit statuses",
        "",
        "What the lab says of an exit status, and on whose word. Made from the table in `core/endings/exits.py` by",
        "`python -m homelab.cli.reference exits`. A status of a program is said of a job when the program is all that",
        "the job runs; where it is one of several, the lab says so. No status proves a cause.",
        "",
        "| program | status | meaning | source |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {m.program} | {m.code} | {m.text} | {m.source} |" for m in EXITS]
    lines += [
        "",
        "A shell's 128 + n says that a command in it was ended by signal n (POSIX.1-2024, 2.8.2):",
        "",
        "| signal | meaning |",
        "| --- | --- |",
    ]
    lines += [f"| {name} | {text} |" for name, text in SIGNALS.items()]
    return "\n".join(lines) + "\n"
