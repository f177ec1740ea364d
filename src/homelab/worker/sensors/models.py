"""Models that Ollama has and those it holds in memory, asked of the Ollama of this machine if one listens.

It is never started. Which model is on which card it does not say: the largest is taken to be where the most memory is
used that nothing else explains.
"""

import http.client
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from homelab.core.placement import Model

PORT: Final = 11434
TIMEOUT_S: Final = 1.0
MOST: Final = 400
LONGEST: Final = 200
"""Of names that a heartbeat carries; what is beyond is left out."""
_LATEST: Final = ":latest"
_LARGEST: Final = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Held:
    """A loaded model: bytes of GPU memory, 0 when it is in main memory."""

    name: str
    gpu_memory: int


@dataclass(frozen=True, kw_only=True)
class Models:
    """`names`: what there is, loaded or not."""

    names: tuple[str, ...] = ()
    loaded: tuple[Held, ...] = ()


def names(tags: object) -> tuple[str, ...]:
    """The models of an answer to /api/tags; one with the tag `latest` also by its short name, as people write it."""
    found = (str(one["name"]) for one in _models(tags))
    return tuple(dict.fromkeys(n for name in found for n in (name, _short(name))))[:MOST]


def loaded(ps: object) -> tuple[Held, ...]:
    """The models of an answer to /api/ps."""
    found: list[Held] = []
    for one in _models(ps):
        size = one.get("size_vram")
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            found.append(Held(name=_short(str(one["name"])), gpu_memory=size))
    return tuple(found)


def on_devices(held: Sequence[Held], used: Sequence[int]) -> tuple[Model, ...]:
    """Each model with its device. `used`: bytes in use on each; without devices all are said to be on the first."""
    unexplained = list(used)
    placed: list[Model] = []
    for one in sorted(held, key=lambda m: (-m.gpu_memory, m.name)):
        device = max(range(len(unexplained)), key=lambda n: unexplained[n], default=0)
        if unexplained:
            unexplained[device] -= one.gpu_memory
        placed.append(Model(name=one.name, gpu_memory=one.gpu_memory, device=device))
    return tuple(placed)


def _short(name: str) -> str:
    return name.removesuffix(_LATEST)


def _models(answer: object) -> Sequence[Mapping[str, Any]]:
    found: object = cast("dict[str, Any]", answer).get("models") if isinstance(answer, dict) else None
    listed = cast("list[Any]", found) if isinstance(found, list) else []
    tables = [cast("dict[str, Any]", one) for one in listed if isinstance(one, dict)]
    return [one for one in tables if 0 < len(str(one.get("name", ""))) <= LONGEST][:MOST]


def address(host: str) -> tuple[str, int]:
    """Where Ollama of this machine listens, by its variable OLLAMA_HOST; the usual place unless that is loopback."""
    rest = host.split("://", 1)[-1].split("/", 1)[0]
    name, _, port = rest.rpartition(":") if rest.count(":") == 1 else (rest, "", "")
    number = int(port) if port.isdigit() and 0 < int(port) < 65536 else PORT
    return ("127.0.0.1", number if name in ("127.0.0.1", "localhost", "0.0.0.0", "") else PORT)  # noqa: S104


def read(place: tuple[str, int] | None = None) -> Models | None:
    """None when nobody listens there, or what listens does not answer as Ollama does."""
    host, port = place or address(os.environ.get("OLLAMA_HOST", ""))
    link = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        held = _ask(link, "/api/ps")
        return None if held is None else Models(loaded=loaded(held), names=names(_ask(link, "/api/tags")))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        link.close()


def _ask(link: http.client.HTTPConnection, path: str) -> object | None:
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read(_LARGEST)
    return orjson.loads(body) if answer.status == 200 else None
