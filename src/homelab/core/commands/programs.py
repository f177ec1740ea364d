"""What one simple command does: builtins, wrappers, interpreters and the scripts they run, and the table of commands.

Called by `core.commands.shell`, which it calls again for texts inside texts (`sh -c '...'`, a sourced file).
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.builtins import BUILTINS
from homelab.core.commands.effects import Call, Effect, Refused, Script, SimpleCommand, Source, Word
from homelab.core.commands.findings import MAX_NESTED_SCRIPTS, MAX_SCRIPTS
from homelab.core.commands.grammars import GRAMMARS
from homelab.core.commands.guesses import mention
from homelab.core.commands.knowledge import lookup
from homelab.core.commands.patterns import absolute, is_plain, shown
from homelab.core.commands.scripts import language, read_foreign
from homelab.core.commands.shell import Invocation, Shell
from homelab.core.commands.words import Scope
from homelab.core.commands.wrappers import table as wrappers

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "fish"})
_INTERPRETERS = re.compile(
    r"^(gnuplot|python[\d.]*|pypy3?|perl[\d.]*|ruby[\d.]*|node|nodejs|deno|bun|php[\d.]*|Rscript|lua[\d.]*|tclsh|expect|osascript"
    r"|pwsh|groovy|java|julia)$"
)
_INTERPRETER_VALUES = frozenset({"-W", "-X", "-d", "-I", "-r", "-e", "-c", "-m", "-E", "-M"})
_SHELL_VALUES = frozenset({"-o", "-O", "--rcfile", "--init-file"})
_LOCK_NAME = re.compile(r"(^|[._-])(lock|lck|mutex)|lock$|lockfile|\.pid$", re.IGNORECASE)


def run(shell: Shell, invocation: Invocation) -> bool | None:
    """Find out what a command does; True or False when it is sure to succeed or fail."""
    words = list(invocation.words)
    taken: list[str] = []
    while words and (count := _wrapped(words)):
        taken.append(_bare(words[0].value))
        words = words[count:]
    if not words:
        return None
    name = _bare(words[0].value)
    command = SimpleCommand(
        name=shown(name),
        words=tuple(words),
        redirects=tuple(invocation.redirects),
        wrappers=tuple(taken),
        join=invocation.join,
        is_conditional=invocation.scope.is_conditional,
        folder=invocation.scope.folder,
        source=invocation.source,
    )
    shell.findings.commands.append(command)
    return _dispatch(shell, replace(invocation, words=words), name)


def _dispatch(shell: Shell, invocation: Invocation, name: str) -> bool | None:
    words, scope = invocation.words, invocation.scope
    if words[0].value in scope.functions:
        return shell.call_function(words[0].value, words[1:], scope, invocation.join)
    if (builtin := _BUILTINS.get(name)) is not None:
        return builtin(shell, invocation)
    if name in _SHELLS:
        _run_shell(shell, invocation)
    elif _INTERPRETERS.match(name):
        _run_interpreter(shell, invocation, name)
    elif lookup([name, *_first_operands(words[1:], name)]) is not None:
        _run_known(shell, invocation, name)
    elif _run_script(shell, invocation, words[0], words[1:], is_named="/" in words[0].value):
        pass
    else:
        _run_unknown(shell, invocation, name)
    return None


def _bare(value: str) -> str:
    return value.rpartition("/")[2]


def _wrapped(words: Sequence[Word]) -> int:
    """How many words to take off to find the command that a wrapper runs; 0 when it is none."""
    rows = wrappers()
    name = _bare(words[0].value)
    taken = 1
    row = rows.get(name)
    if row is None and len(words) > 1:
        row = rows.get(f"{name} {words[1].value}")
        taken = 2
    if row is None or len(words) <= taken:
        return 0
    valued, operands = row
    while taken < len(words):
        text = words[taken].value
        if text == "--":
            taken += 1
            break
        if text in ("-c", "--command") and name in ("su", "runuser", "script"):
            return 0
        if text.startswith("-") and len(text) > 1:
            taken += 2 if text in valued else 1
        elif name == "env" and re.match(r"^[A-Za-z_]\w*=", text):
            taken += 1
        else:
            break
    taken += operands
    return taken if taken < len(words) else 0


def _first_operands(words: Sequence[Word], name: str) -> list[str]:
    """The first words that are no options, to find a subcommand by."""
    row = lookup([name])
    valued: Collection[str] = row[0].options if row else ()
    return [word.value for word in split(words[:24], valued).operands[:4]]


# --- builtins ---------------------------------------------------------------------------------------------------------


def _source_file(shell: Shell, invocation: Invocation) -> None:
    """`. FILE`: the file's commands, here."""
    if len(invocation.words) < 2:
        return
    scope = invocation.scope
    path = absolute(invocation.words[1].value, scope.folder)
    script = _open(shell, path, invocation.source, is_named=True)
    if script is None:
        return
    effect = Effect(kind="read", target=path, place=scope.place, by=".", source=invocation.source)
    shell.findings.add(effect)
    was_in, arguments = scope.file, scope.arguments
    scope.file = path
    if len(invocation.words) > 2:
        scope.arguments = tuple(word.values for word in invocation.words[2:])
    try:
        shell.read(script.text, scope)
    finally:
        scope.file, scope.arguments = was_in, arguments
        shell.findings.open_scripts.pop()


def _flock(shell: Shell, invocation: Invocation) -> None:
    """util-linux: `flock [options] FILE|FOLDER command...`, `flock FILE -c TEXT`, `flock DESCRIPTOR`."""
    words = list(invocation.words[1:])
    flags: list[str] = []
    while words and words[0].value.startswith("-"):
        flag = words.pop(0).value
        flags.append(flag)
        if flag in ("-w", "--wait", "--timeout", "-E", "--conflict-exit-code") and words:
            words.pop(0)
    if not words:
        return
    act = _act(shell, invocation, "flock")
    lock = words.pop(0).value
    lock = invocation.scope.descriptors.get(int(lock), "") if lock.isdigit() else lock
    letters = "".join(flag[1:] for flag in flags if not flag.startswith("--"))
    is_shared = "s" in letters or "--shared" in flags
    if "u" in letters or "--unlock" in flags or not lock:
        return
    waits = not ("n" in letters or "--nonblock" in flags or "--nb" in flags)
    act.lock(lock, is_shared=is_shared, waits=waits)
    _run_rest(shell, invocation, words)


def _lock_wrapper(valued: frozenset[str], *, by_option: str = "", operands: int = 1) -> Callable[..., None]:
    """Other programs that hold a lock while a command runs: the lock is an operand, or the value of an option."""

    def locked(shell: Shell, invocation: Invocation) -> None:
        found, words = _leading_options(list(invocation.words[1:]), valued)
        lock = found.get(by_option) if by_option else words[0].value if words else None
        if lock:
            _act(shell, invocation, _bare(invocation.words[0].value)).lock(lock)
        _run_rest(shell, invocation, words if by_option else words[operands:])

    return locked


def _leading_options(words: list[Word], valued: frozenset[str]) -> tuple[dict[str, str], list[Word]]:
    found: dict[str, str] = {}
    while words and words[0].value.startswith("-"):
        text = words.pop(0).value
        if text == "--":
            break
        name, equals, value = text.partition("=")
        if equals:
            found[name] = value
        elif text in valued and words:
            found[text] = words.pop(0).value
    return found, words


def _run_rest(shell: Shell, invocation: Invocation, words: list[Word]) -> None:
    """The command behind a wrapper that was handled."""
    if words and words[0].value in ("-c", "--command") and len(words) > 1:
        shell.read(words[1].value, invocation.scope.copy(), origin=invocation.source)
    elif words:
        if len(words) == 1 and " " in words[0].value:  # flock FILE "command with words"
            shell.read(words[0].value, invocation.scope.copy(), origin=invocation.source)
        else:
            run(shell, replace(invocation, words=words, redirects=()))


def _su(shell: Shell, invocation: Invocation) -> None:
    words = invocation.words
    text = next((b.value for a, b in pairwise(words) if a.value in ("-c", "--command")), None)
    text = text or next((w.value.partition("=")[2] for w in words if w.value.startswith("--command=")), None)
    if text:
        shell.read(text, invocation.scope.copy(), origin=invocation.source)


_BUILTINS: dict[str, Callable[[Shell, Invocation], bool | None]] = {
    ".": _source_file,
    "source": _source_file,
    **BUILTINS,
    "flock": _flock,
    "setlock": _lock_wrapper(frozenset()),
    "lckdo": _lock_wrapper(frozenset({"-w", "-W"})),
    "lockf": _lock_wrapper(frozenset({"-t"})),
    "with-lock-ex": _lock_wrapper(frozenset()),
    "lockrun": _lock_wrapper(frozenset({"-L", "--lockfile"}), by_option="--lockfile"),
    "solo": _lock_wrapper(frozenset({"-port"}), by_option="-port"),
    "sem": _lock_wrapper(frozenset({"--id", "-j"}), by_option="--id"),
    "su": _su,
    "runuser": _su,
}


# --- interpreters and scripts -----------------------------------------------------------------------------------------


def _run_shell(shell: Shell, invocation: Invocation) -> None:
    words = list(invocation.words[1:])
    is_text = False
    while words and words[0].value.startswith(("-", "+")) and len(words[0].value) > 1:
        option = words.pop(0).value
        is_text = is_text or (not option.startswith("--") and "c" in option)
        if option in _SHELL_VALUES and words:
            words.pop(0)
    if is_text and words:
        inner = invocation.scope.copy()
        inner.arguments = tuple(word.values for word in words[2:])
        shell.read(words[0].value, inner, origin=invocation.source)
    elif words:
        _run_script(shell, invocation, words[0], words[1:], is_named=True, interpreter="sh")
    elif invocation.stdin:
        shell.read(invocation.stdin, invocation.scope.copy(), origin=invocation.source)


def _run_interpreter(shell: Shell, invocation: Invocation, name: str) -> None:
    words = list(invocation.words[1:])
    kind = "python" if name.startswith(("python", "pypy")) else name.rstrip("0123456789.")
    while words and words[0].value.startswith("-") and len(words[0].value) > 1:
        option = words.pop(0).value
        if option in ("-c", "-e", "-r", "--eval", "-E") and words and not (kind == "php" and option == "-e"):
            text = words.pop(0).value
            scope = invocation.scope.copy()
            read_foreign(shell, text, kind, scope, [w.value for w in words], invocation.source, inline=True)
            return
        if option == "-m" and words:
            module = words.pop(0).value
            path = module.replace(".", "/")
            for candidate in (f"{path}.py", f"{path}/__main__.py"):
                word = Word(text=module, values=(candidate,))
                if _run_script(shell, invocation, word, words, is_named=False, interpreter=kind):
                    return
            _run_unknown(shell, replace(invocation, words=[Word(text=module, values=(module,)), *words]), module)
            return
        if (option in _INTERPRETER_VALUES and kind in ("python", "php") and words and option != "-d") or (
            option == "-d" and kind == "php" and words
        ):
            words.pop(0)
    if words:
        _run_script(shell, invocation, words[0], words[1:], is_named=True, interpreter=kind)
    elif invocation.stdin:
        scope = invocation.scope.copy()
        read_foreign(shell, invocation.stdin, kind, scope, [], invocation.source, inline=True)


def _open(shell: Shell, path: str, source: Source, *, is_named: bool) -> Script | None:
    """The script at a path, noted as called; None when there is nothing to read. Closed by `open_scripts.pop()`."""
    findings = shell.findings
    if not is_plain(path):
        return None
    entry = findings.scripts.get(path)
    if entry is None:
        if is_named:
            findings.calls.append(Call(path=path, status="missing", source=source))
        return None
    if isinstance(entry, Refused):
        if entry.is_program:
            findings.calls.append(Call(path=path, status="program", source=source))
        else:
            findings.calls.append(Call(path=path, status="not-analysed", reason=entry.reason, source=source))
            findings.note(path, entry.reason)
        return None
    reason = ""
    if path in findings.open_scripts:
        reason = "it calls itself"
    elif len(findings.open_scripts) >= MAX_NESTED_SCRIPTS:
        reason = f"scripts call scripts more than {MAX_NESTED_SCRIPTS} deep"
    elif findings.read_scripts >= MAX_SCRIPTS:
        reason = f"the job calls more than {MAX_SCRIPTS} scripts"
    if reason:
        findings.note(path, reason)
        findings.calls.append(Call(path=path, status="not-analysed", reason=reason, source=source))
        return None
    findings.read_scripts += 1
    findings.open_scripts.append(path)
    findings.calls.append(Call(path=path, status="analysed", source=source))
    return entry


def _run_script(
    shell: Shell,
    invocation: Invocation,
    word: Word,
    arguments: Sequence[Word],
    *,
    is_named: bool,
    interpreter: str = "",
) -> bool:
    """Read the script that a word names, if there is one. `is_named`: it is surely a script or program."""
    scope = invocation.scope
    if scope.place:
        return is_named and bool(interpreter)
    paths = [absolute(word.value, scope.folder)] if is_named or interpreter else _on_path(word.value, scope)
    for path in paths:
        script = _open(shell, path, invocation.source, is_named=is_named)
        if script is not None:
            try:
                _read_script(shell, script, scope, arguments, interpreter, invocation)
            finally:
                shell.findings.open_scripts.pop()
            return True
    if is_named and interpreter:
        _guess(shell, invocation, arguments, word.value)
        return True
    return False


def _read_script(
    shell: Shell, script: Script, scope: Scope, arguments: Sequence[Word], interpreter: str, invocation: Invocation
) -> None:
    kind = interpreter or language(script)
    inner = Scope(
        variables={name: values for name, values in scope.variables.items() if name in scope.exported},
        exported=set(scope.exported),
        arguments=tuple(argument.values for argument in arguments),
        folder=scope.folder,
        file=script.path,
        name=script.path,
        is_conditional=scope.is_conditional,
    )
    if kind in _SHELLS:
        origin, shell.origin = shell.origin, None
        try:
            shell.read(script.text, inner, stdin=invocation.stdin)
        finally:
            shell.origin = origin
    else:
        read_foreign(shell, script.text, kind, inner, [a.value for a in arguments], invocation.source, inline=False)


def _on_path(name: str, scope: Scope) -> list[str]:
    folders = scope.value("PATH")[0].split(":")
    return [absolute(name, folder) for folder in folders if folder.startswith("/")]


# --- commands ---------------------------------------------------------------------------------------------------------


def _act(shell: Shell, invocation: Invocation, name: str) -> Act:
    return Act(
        name=name,
        scope=invocation.scope,
        source=invocation.source,
        findings=shell.findings,
        incoming=invocation.incoming,
    )


def _run_known(shell: Shell, invocation: Invocation, name: str) -> None:
    words = list(invocation.words[1:])
    row = lookup([name, *_first_operands(words, name)])
    if row is None:
        return
    spec, subcommands = row
    base = lookup([name])
    base_options: Collection[str] = base[0].options if base else ()
    if base is not None and base[0] is not spec:
        spec = replace(spec, options={**base[0].options, **spec.options}, flags={**spec.flags})
    act = _act(shell, invocation, name)
    if spec.grammar:
        act.may_be_far = True
        behind = _without_operands(words, base_options, subcommands)
        rest = GRAMMARS[spec.grammar](act, behind, spec.options, invocation.stdin)
        _run_found(shell, invocation, act, rest)
        return
    act.apply(spec, _without_operands(words, spec.options, subcommands))
    _run_found(shell, invocation, act, [])


def _run_found(shell: Shell, invocation: Invocation, act: Act, rest: Sequence[Word]) -> None:
    """What a command runs in turn: the rest of its words, a text, a script."""
    if rest:
        run(shell, replace(invocation, words=list(rest), redirects=(), scope=act.scope))
    for text in act.run_text:
        shell.read(text, act.scope.copy(), origin=invocation.source)
    for word in act.run_scripts:
        kind = "awk" if act.name.endswith("awk") else ""
        _run_script(shell, invocation, word, [], is_named=True, interpreter=kind)


def _without_operands(words: list[Word], valued: Collection[str], count: int) -> list[Word]:
    """The words without the first operands, which are the subcommand."""
    gone = [id(word) for word in split(words, valued).operands[:count]]
    return [word for word in words if id(word) not in gone]


def _run_unknown(shell: Shell, invocation: Invocation, name: str) -> None:
    """A program nobody knows: a script among its arguments is run, and its paths are mentioned."""
    words = invocation.words[1:]
    is_lock = "lock" in name.lower()
    for number, word in enumerate(words):
        value = word.value
        if is_lock and _LOCK_NAME.search(_bare(value)):
            _act(shell, invocation, name).lock(value)
            rest = list(words[number + 1 :])
            if rest and not rest[0].value.startswith("-"):
                run(shell, replace(invocation, words=rest, redirects=()))
                return
        if number < 4 and not value.startswith("-") and _is_command(shell, word, invocation.scope):
            run(shell, replace(invocation, words=list(words[number:]), redirects=()))
            return
    _guess(shell, invocation, words, name)


def _is_command(shell: Shell, word: Word, scope: Scope) -> bool:
    """Whether an argument is itself a command, as a wrapper's is: an interpreter, or a script that is there."""
    value = word.value
    name = _bare(value)
    if name in _SHELLS or _INTERPRETERS.match(name):
        return True
    if "/" not in value or scope.place:
        return False
    entry = shell.findings.scripts.get(absolute(value, scope.folder))
    return isinstance(entry, Script) and entry.text.startswith("#!")


def _guess(shell: Shell, invocation: Invocation, words: Sequence[Word], name: str) -> None:
    act = _act(shell, invocation, _bare(name))
    mention(act, words, invocation.redirects, is_piped=invocation.is_piped)
