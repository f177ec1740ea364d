"""Passwords, tokens and keys in command lines and in the crontab's assignments. Called by `core.hazards`.

Anybody on the machine sees a command line with `ps`, and a crontab ends up in backups and in git. The value itself is
never repeated in a message.
"""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import SimpleCommand
from homelab.core.commands.patterns import ONE
from homelab.core.hazards.found import Facts, Hazard, Subject

_NAME = re.compile(
    r"(^|[_-])(pass(wor[dt]|wd|phrase)?|pwd|secret|token|api_?key|access_?key|auth_?key|private_?key|credentials?)$",
    re.IGNORECASE,
)
_NOT_NAME = re.compile(r"(^|_)(OLDPWD|PWD)$|(file|path|dir|cmd|command|url|name|id)$", re.IGNORECASE)
_OPTION = re.compile(
    r"^--?(?:[\w-]*[-_])?(pass(?:word|wd|phrase)?|secret(?:[-_]key)?|(?:\w+[-_])?token|api[-_]?key|access[-_]key|auth[-_]?key)$",
    re.IGNORECASE,
)
_QUERY = re.compile(
    rf"[?&;{ONE}]((?:[\w-]*[_-])?(?:pass(?:word|wd)?|pwd|secret|token|api_?key|access_?key|cron_?key|auth(?:_?key)?|sig|key))="
    r"([^&#\s'\"]{4,})",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://[^\s/:@'\"]{0,200}:([^\s/@'\"]{2,200})@")
_LONGEST = 500  # of a word: what is longer is data, and regular expressions must not be led far
_HOOK = re.compile(
    r"https://(hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks|api\.telegram\.org/bot)[/\w:-]{8,}"
)
_HEADER = re.compile(
    r"^\s*(authorization|x-[\w-]*(?:key|token)|api-?key|private-token)\s*:\s*(?:\w+\s+)?(\S{6,})", re.I
)
_MYSQL = re.compile(r"^(mysql\w*|mariadb[\w-]*|automysqlbackup|mytop|innobackupex|xtrabackup)$")
# Programs where `-p VALUE`, `-u USER:VALUE` or the like is a password: name, option, whether it is `user:password`.
_SHORT = {
    ("sshpass", "-p"): False,
    ("curl", "-u"): True,
    ("curl", "--user"): True,
    ("smbclient", "-U"): True,
    ("lftp", "-u"): True,
    ("mongodump", "-p"): False,
    ("mongo", "-p"): False,
    ("ldapsearch", "-w"): False,
    ("redis-cli", "-a"): False,
    ("htpasswd", "-b"): False,
    ("ncftpput", "-p"): False,
    ("ncftpget", "-p"): False,
    ("sqlcmd", "-P"): False,
    ("sendemail", "-xp"): False,
    ("sendEmail", "-xp"): False,
    ("ipmitool", "-P"): False,
}
_PLACEHOLDER = re.compile(
    r"^<.*>$|^\[.*\]$|^\{+.*\}+$|^%.*%$|^your|^my_?pass|^change|^example|^\*+$|^\.\.\.$", re.IGNORECASE
)
_FROM_ELSEWHERE = re.compile(
    r"[$`]|^/|^~|^@|^file:|^env:|^pass:env|^pass:file|^(env|file|fd|stdin|prompt)$|[\ue000-\ue1ff]"
)
# Variables that a program reads a password from by itself.
_OWN_VARIABLES = {
    "redis-cli": "REDISCLI_AUTH",
    "sshpass": "SSHPASS",
    "restic": "RESTIC_PASSWORD",
    "borg": "BORG_PASSPHRASE",
    "psql": "PGPASSWORD",
}


def visible_secrets(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """The first secret of the line: one is enough to make a person look at it."""
    _ = facts
    for command in subject.own_commands():
        if what := _in_command(command):
            variable = "MYSQL_PWD" if _MYSQL.match(command.name) else _OWN_VARIABLES.get(command.name, "")
            message = f"{what} is on the command line, where everybody on the machine sees it with ps"
            yield _hazard(subject, message, variable, command.name)
            return
    for found in re.finditer(r"(?:^|[;&|(]\s*|\benv\s+|\bexport\s+)([A-Za-z_]\w*)=(\S+)", subject.job.command):
        if is_secret_name(found[1]) and is_secret(found[2]):
            yield _hazard(subject, f"the value of {found[1]} stands in the crontab itself", found[1], "the command")
            return


def assigned_secrets(subjects: Sequence[Subject]) -> Iterator[Hazard]:
    """Secrets among the assignments of the crontab, each told at the first job below it."""
    said: set[tuple[str, str]] = set()
    for subject in subjects:
        for name, value in subject.job.environment.items():
            if (name, value) not in said and is_secret_name(name) and is_secret(value):
                said.add((name, value))
                yield _hazard(
                    subject, f"the value of {name}, above this line, stands in the crontab itself", name, "it"
                )


def _hazard(subject: Subject, message: str, variable: str, reader: str) -> Hazard:
    if variable:
        hint = (
            f'Take it out: secrets = {{ {variable} = "file:/path/to/it" }} of the job sets it, and {reader} reads it.'
        )
    else:
        hint = "Keep it in a file that only the job's user may read, or in the `secrets` of the job."
    return Hazard(line=subject.job.line, code="secret", message=message, hint=hint)


def is_secret(value: str) -> bool:
    """Whether a value looks like the secret itself, not like a name for it, a file, a variable or a blank."""
    value = value.strip("'\"")
    return len(value) >= 3 and not _FROM_ELSEWHERE.search(value) and not _PLACEHOLDER.search(value)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name usually holds a password, a token or a key."""
    return (name in ("MYSQL_PWD", "PGPASSWORD", "SSHPASS") or bool(_NAME.search(name))) and not _NOT_NAME.search(name)


def _in_command(command: SimpleCommand) -> str:
    """What kind of secret a command is given, in words; empty for none."""
    words = [(word.text[:_LONGEST], word.value[:_LONGEST]) for word in command.words]
    program = command.name
    for number, (text, value) in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else ("", "")
        if what := _in_url(text, value):
            return what
        if (header := _HEADER.match(value)) and is_secret(header[2]) and "$" not in text:
            return f"the secret of the header '{header[1]}'"
        if number == 0:
            continue
        name, equals, given = value.partition("=")
        if len(name) < 60 and _OPTION.match(name):
            given_text = text if equals else following[0]
            secret = given if equals else following[1] if not following[1].startswith("-") else ""
            if is_secret(secret) and "$" not in given_text and "`" not in given_text:
                return f"the value of the option {name}"
        if (program, value) in _SHORT and "$" not in following[0]:
            secret = following[1].partition(":")[2] if _SHORT[program, value] else following[1]
            if is_secret(secret):
                return f"the password behind {value} of {program}"
        if _MYSQL.match(program) and re.match(r"^-p[^-\s]{2,}$", value) and "$" not in text and is_secret(value[2:]):
            return f"the password behind -p of {program}"
    return ""


def _in_url(text: str, value: str) -> str:
    if "$" in text and "\ue005" in value:
        return ""
    if (found := _IN_URL.search(value)) and is_secret(found[1]):
        return "the password in a URL"
    if found := _HOOK.search(value):
        return f"the secret address of {found[1].split('/')[0]}"
    found = _QUERY.search(value)
    if found and is_secret(found[2]) and "://" in value:
        return f"the value of '{found[1]}' in a URL"
    return ""
