"""Single lines of a crontab: assignments, and what `%` does to a command.

Both follow cronie's own small state machines, because their corner cases are what real crontabs depend on.
Called by `core.crontab.reader` only.
"""

_SPACE = " \t\n\v\f\r"


def read_assignment(line: str) -> tuple[str, str] | None:
    """`NAME = value` as cron understands it, or None when the line is no assignment (then it must be a job).

    `line` has no leading blanks and no newline. Name and value may be quoted, with either quote; nothing is expanded;
    an unquoted value loses its trailing blanks; after a closing quote only blanks may follow.
    """
    after_name = _read_name(line)
    if after_name is None:
        return None
    name, at = after_name
    while at < len(line) and line[at] in _SPACE:
        at += 1
    if at >= len(line) or line[at] != "=":
        return None
    at += 1
    while at < len(line) and line[at] in _SPACE:
        at += 1
    if at >= len(line):
        return name, ""
    if line[at] in "'\"":
        end = line.find(line[at], at + 1)
        if end < 0 or line[end + 1 :].strip(_SPACE):
            return None
        return name, line[at + 1 : end]
    return name, line[at:].rstrip(_SPACE)


def _read_name(line: str) -> tuple[str, int] | None:
    """The name and the position behind it; a quoted name may hold blanks but no `=`."""
    if line[:1] in ("'", '"'):
        end = line.find(line[0], 1)
        if end < 0 or "=" in line[1:end]:
            return None
        return line[1:end], end + 1
    end = 0
    while end < len(line) and line[end] not in _SPACE and line[end] != "=":
        end += 1
    return line[:end], end


def split_command(text: str) -> tuple[str, str | None]:
    """Command and standard input of the text behind the schedule, after cron's `%` rules.

    The first `%` without a backslash ends the command; `\\%` is a plain `%`. Behind it further `%` are newlines, and
    the input ends with one. None: there is no such `%` (the job's standard input is then empty).
    """
    command: list[str] = []
    escaped = False
    for at, char in enumerate(text):
        if escaped:
            if char == "%":
                command.pop()
            escaped = False
        elif char == "%":
            return "".join(command), _stdin(text[at + 1 :])
        elif char == "\\":
            escaped = True
        command.append(char)
    return "".join(command), None


def _stdin(data: str) -> str:
    """The input after the first `%`. Cron keeps a backslash waiting here: of two before a `%`, one remains."""
    out: list[str] = []
    escaped = False
    needs_newline = False
    for given in data:
        char = given
        if escaped:
            if char != "%":
                out.append("\\")
        elif char == "%":
            char = "\n"
        escaped = char == "\\"
        if not escaped:
            out.append(char)
            needs_newline = char != "\n"
    if escaped:
        out.append("\\")
    if needs_newline:
        out.append("\n")
    return "".join(out)
