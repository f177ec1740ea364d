"""Copies to and from other machines: rsync, lftp, curl, wget, ssh. See `core.commands.grammars`."""

import posixpath
import re
from collections.abc import Collection, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Word
from homelab.core.commands.patterns import absolute, globbed, is_plain


def rsync(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    act.may_be_far = True
    operands = [*found.operands]
    if len(operands) < 2:
        for word in operands:
            act.effect("read", word.value, is_tree=True)
        return ()
    removes = found.has("--remove-source-files")
    *sources, destination = operands
    names: list[str] = []
    for word in sources:
        for value in word.values:
            names.append("" if value.endswith("/") else posixpath.basename(value))
            is_file = _looks_like_file(value)
            act.effect("read", value, is_tree=not is_file)
            if removes:
                act.effect("delete", value, is_tree=not is_file)
    for value in destination.values:
        _rsync_into(act, value, names)
    for word in found.all("--files-from", "--exclude-from", "--include-from"):
        act.effect("read", word.value)
    for word in found.all("--log-file"):
        act.effect("append", word.value)
    for word in found.all("--link-dest", "--compare-dest", "--copy-dest"):
        act.effect("read", word.value, is_tree=True)
    return ()


def _rsync_into(act: Act, value: str, names: Sequence[str]) -> None:
    if _looks_like_file(value) and len(names) == 1:
        act.effect("write", value)
    elif all(names) and names:
        if all(_looks_like_file(name) for name in names):
            for name in names:
                act.effect("write", f"{value.rstrip('/')}/{name}")
        else:
            for name in names:
                act.effect("write", f"{value.rstrip('/')}/{name}", is_tree=True)
    else:
        act.effect("write", value, is_tree=True)


def _looks_like_file(value: str) -> bool:
    """A name with an ending, such as a copied file has; a folder's may have one too, then it ends with a slash."""
    if value.endswith("/"):
        return False
    ending = posixpath.splitext(posixpath.basename(value))[1]
    return 2 <= len(ending) <= 6 and not posixpath.basename(value).startswith(".") and ending != ".d"


def lftp(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """`mirror -R LOCAL FAR`, `mirror FAR LOCAL`, `put FILE`, `get FILE`."""
    found = split(words, options)
    host = next((w.value for w in words if not w.value.startswith("-") and " " not in w.value), "ftp")
    place = re.sub(r"^\w+://", "", host).partition("@")[2] or re.sub(r"^\w+://", "", host)
    text = " ".join([word.value for word in words if " " in word.value] + [stdin or ""])
    for found in re.finditer(r"\bmirror((?:\s+-[^\s;]+)*)\s+([^\s;\"']+)(?:\s+([^\s;\"']+))?", text):
        near, far = (found[2], found[3]) if re.search(r"-\w*R|--reverse", found[1]) else (found[3], found[2])
        is_upload = near == found[2]
        if near:
            act.effect("read" if is_upload else "write", near, is_tree=True)
        if far:
            act.effect("write" if is_upload else "read", absolute(far, "~"), is_tree=True, place=place)
    for found in re.finditer(r"\b(m?put|get)\s+(?:-\S+\s+)*([^\s;\"']+)", text):
        act.effect("read" if "put" in found[1] else "write", globbed(found[2]))
    return ()


def curl(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    act.may_be_far = False
    into = found.value("--output-dir")
    if into is not None:
        act.folder = absolute(into.value, act.folder)
    for word in found.all("-o", "--output", "-D", "--dump-header", "-c", "--cookie-jar"):
        for value in word.values:
            act.effect("write", value)
    if found.has("-O", "--remote-name", "--remote-name-all") and not found.has("-o"):
        for word in found.operands:
            _downloaded(act, word)
    for word in found.all("-T", "--upload-file"):
        for value in word.values:
            act.effect("read", value)
    for word in found.all("-d", "--data", "--data-binary", "--data-urlencode", "-F", "--form", "--json"):
        if at := re.search(r"(?:^|=)[@<]([^;]+)", word.value):
            act.effect("read", at[1])
    for word in found.all("-K", "--config", "-b", "--cookie", "-z", "--time-cond"):
        if "=" not in word.value and "/" in word.value:
            act.effect("read", word.value)
    return ()


def _downloaded(act: Act, word: Word) -> None:
    """A file named as the end of its URL."""
    for value in word.values:
        name = posixpath.basename(re.sub(r"[?#].*", "", value))
        if "://" in value and name and not value.endswith("/"):
            act.effect("write", name)


def wget(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    act.may_be_far = False
    into = found.value("-P", "--directory-prefix", *(("-d", "--dir") if act.name == "aria2c" else ()))
    for word in found.all("-i", "--input-file", "--post-file", "--load-cookies", "--body-file"):
        act.effect("read", word.value)
    for word in found.all("-o", "--output-file", "-a", "--append-output"):
        if act.name == "wget":
            act.effect("append", word.value)
    if into is not None:
        act.folder = absolute(into.value, act.folder)
    output = found.value("-O", "--output-document") or (found.value("-o") if act.name == "aria2c" else None)
    if output is not None:
        for value in output.values:
            act.effect("write", value)
    elif found.has("-m", "-r", "--mirror", "--recursive"):
        act.effect("write", ".", is_tree=True)
    elif not found.has("--spider"):
        for word in found.operands:
            _downloaded(act, word)
    return ()


def ssh(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """The command runs on the other machine: what it does has that place."""
    rest = list(words)
    while rest and rest[0].value.startswith("-"):
        option = rest.pop(0).value
        if option in options and rest:
            rest.pop(0)
    if not rest:
        return ()
    host = re.sub(r"^ssh://", "", rest.pop(0).value).rpartition("@")[2].partition(":")[0]
    act.scope = act.scope.copy()
    act.scope.place, act.scope.folder = host, "~"
    while rest and rest[0].value.startswith("-"):
        rest.pop(0)
    text = " ".join(word.value for word in rest) or (stdin or "")
    if text and is_plain(re.sub("[\ue000-\ue1ff]", "", text)):
        act.run_text.append(text)
    return ()
