"""Verdicts on runs that ended, in one sentence of numbers each. Pure.

`It took 14 min; usually 3 to 5 min (30 runs).` Called by `habit`.
"""

from dataclasses import dataclass

from homelab.core.durations import size, span
from homelab.core.usual.series import Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusual:
    """`kind`: late, stuck, slow, silent or shrunken. `says` goes into a title ("was unusually slow"), `reason` is one
    sentence with the numbers."""

    kind: str
    says: str
    reason: str


def slow(took_s: float, usual: Spread) -> Unusual:
    return Unusual(kind="slow", says="was unusually slow", reason=f"It took {span(took_s)}; usually {spans(usual)}.")


def longer(took_s: float, expected_s: float) -> Unusual | None:
    if took_s <= expected_s:
        return None
    reason = f"It took {span(took_s)}; the lab file expects at most {span(expected_s)}."
    return Unusual(kind="slow", says="took longer than expected", reason=reason)


def silent(usual: Spread) -> Unusual:
    reason = f"It succeeded but printed nothing; usually it prints {sizes(usual)}."
    return Unusual(kind="silent", says="printed nothing", reason=reason)


def shrunken(printed: int, usual: Spread) -> Unusual:
    reason = f"It succeeded but printed only {size(printed)}; usually {sizes(usual)}."
    return Unusual(kind="shrunken", says=f"printed only {size(printed)}", reason=reason)


def fewer(printed: int, least: int) -> Unusual | None:
    if printed >= least:
        return None
    amount = "nothing" if printed == 0 else f"only {size(printed)}"
    reason = f"It succeeded but printed {amount}; the lab file expects at least {size(least)}."
    return Unusual(kind="shrunken" if printed else "silent", says=f"printed {amount}", reason=reason)


def spans(usual: Spread) -> str:
    """`3 to 5 min (30 runs)`."""
    low, high = span(usual.low), span(usual.high)
    low_unit, high_unit = low.partition(" ")[2], high.partition(" ")[2]
    return _range(low.removesuffix(f" {low_unit}") if low_unit == high_unit else low, low, high, usual)


def sizes(usual: Spread) -> str:
    """`4.0 to 12.5 kB (30 runs)`."""
    low, high = size(usual.low), size(usual.high)
    low_unit, high_unit = low.partition(" ")[2], high.partition(" ")[2]
    return _range(low.removesuffix(f" {low_unit}") if low_unit == high_unit else low, low, high, usual)


def _range(short: str, low: str, high: str, usual: Spread) -> str:
    when = f" {usual.when}" if usual.when else ""
    return f"{high if low == high else f'{short} to {high}'}{when} ({usual.count} runs)"
