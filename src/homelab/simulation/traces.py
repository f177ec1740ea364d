"""The Azure LLM inference trace (columns TIMESTAMP, ContextTokens, GeneratedTokens) as a workload.

A request takes one slot, and GPU memory for the tokens it keeps in the cache; it runs as long as a node needs to read
the context and to write the answer. How fast that is, and how much a token takes, is the model's and the machine's:
`Rates`. Trace: Patel et al., "Splitwise", ISCA 2024; the data is CC-BY 4.0 and not part of this project.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from homelab.core.capacity import GPU_MEMORY, SLOTS, UNIT
from homelab.core.errors import InputError
from homelab.core.placement import Request
from homelab.simulation.workload import Clock, Item

COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """One slot of a node: tokens of context read and tokens written in a second, and bytes a token takes in the cache.

    The defaults are those of a 14-billion model with grouped attention on a large Mac.
    """

    read_per_s: float = 2500.0
    write_per_s: float = 40.0
    token_bytes: int = 160 * 1024


def read_azure(lines: Iterable[str], *, source: str, rates: Rates | None = None) -> Iterator[Item]:
    """Items in the order of the trace. How long an answer becomes nobody knows before: no request says how long it
    will run. InputError with the line's number for what cannot be read."""
    speed, clock = rates or Rates(), Clock()
    rows = csv.reader(lines)
    header = next(rows, None)
    if header is None or [h.strip().lstrip("\ufeff") for h in header] != list(COLUMNS):
        raise InputError(f"the columns are not {', '.join(COLUMNS)}", where=f"{source}:1")
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            time, context, generated = row
            arrival = clock.read(time[:26])  # seven decimals are one more than a time has
            tokens = int(context), int(generated)
        except InputError as error:
            raise InputError(error.message, hint=error.hint, where=f"{source}:{number}") from None
        except ValueError:
            raise InputError("this is not a time and two numbers of tokens", where=f"{source}:{number}") from None
        request = Request(
            id=f"line-{number}",
            amounts={SLOTS: UNIT, GPU_MEMORY: sum(tokens) * speed.token_bytes},
            submitted=arrival,
        )
        yield Item(request=request, duration_s=tokens[0] / speed.read_per_s + tokens[1] / speed.write_per_s)
