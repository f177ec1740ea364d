"""Whether two versions of homelab work together: control's and a node's. Pure.

They speak to each other within one minor release, so that a lab can be upgraded machine by machine; fields that one
of them does not know are passed over by the other.
"""

import re

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?(?:[.+-]?[0-9A-Za-z.+-]*)?")


def apart(*, control: str, node: str) -> str:
    """Why a node of this version does not work for a control of that one, and what to do; "" when it does. A version
    that cannot be read, or that is not told, is no reason."""
    ours, theirs = _read(node), _read(control)
    if ours is None or theirs is None or (ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1):
        return ""
    older = "this node" if ours < theirs else "the machine of control"
    return (
        f"control is homelab {control[:40]} and this node {node[:40]}: they work together within one minor release."
        f" Upgrade {older}, then: homelab down, homelab up -d"
    )


def _read(version: str) -> tuple[int, int] | None:
    found = _VERSION.fullmatch(version.strip())
    return None if found is None else (int(found[1]), int(found[2]))
