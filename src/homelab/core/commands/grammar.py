"""The one door to tree-sitter: shell text in, syntax tree out. It is imported only when there is a text to parse."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_BYTES = 1024 * 1024
# tree-sitter-bash 0.25 takes `$A/$B` without quotes apart in the wrong place; `${A}/${B}` it does not. So `$A` is
# parsed as `${A:-MARK}` and read as what it is: the mark, which no text has, says that it was one.
MARK = "\ue00f"
_PLAIN = re.compile(r"(?<![\\$])\$([A-Za-z_]\w*|\d)", re.ASCII)
_MARKED = re.compile(r"\$\{(\w+):-" + MARK + r"\}")
_MAX_DEPTH = 100
_KEPT_CHARACTERS = 32_768


class NotParsed(Exception):  # noqa: N818 - not an error of ours: the text is left alone
    """The text is not analysed; the message says why."""


@lru_cache(maxsize=1)
def _parser() -> "Parser":
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_bash.language()))


def parse(text: str) -> "Node":
    """The tree of a shell text. NotParsed when it is too large, or nested too deeply to be walked.

    Chains (`a && b && c ...`) lean to the left in the tree and may be long: their spine does not count.
    """
    return _kept(text) if len(text) <= _KEPT_CHARACTERS else _parsed(text)


@lru_cache(maxsize=256)
def _kept(text: str) -> "Node":
    """Trees of ordinary size are kept: many jobs call the same script."""
    return _parsed(text)


def _parsed(text: str) -> "Node":
    data = _PLAIN.sub(rf"${{\1:-{MARK}}}", text).encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise NotParsed(f"it is larger than {MAX_BYTES} bytes")
    tree = _parser().parse(data)
    if _depth(tree.root_node) > _MAX_DEPTH:
        raise NotParsed("it is nested too deeply")
    return tree.root_node


def text_of(node: "Node") -> str:
    """The text of a node as it was written."""
    text = (node.text or b"").decode("utf-8", "replace")
    return written(text) if MARK in text else text


def written(text: str) -> str:
    """A piece of parsed text as it was before."""
    return _MARKED.sub(r"$\1", text)


def _depth(root: "Node") -> int:
    """How deeply the tree is nested, found without recursion."""
    cursor = root.walk()
    depth = deepest = 0
    chains: list[bool] = []
    while True:
        if depth > _MAX_DEPTH:
            return depth
        node = cursor.node
        is_chain = node is not None and node.type == "list"
        if cursor.goto_first_child():
            chains.append(is_chain)
            depth += not is_chain
            deepest = max(deepest, depth)
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return deepest
            depth -= not chains.pop()
