"""What a simulation found, as one JSON document and as text for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from homelab.core import capacity
from homelab.core.placement import Node, Room
from homelab.simulation.engine import Outcome
from homelab.simulation.optimum import Optimum

_BARS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN: Final = " .:-=+*#@"


def to_json(outcomes: Sequence[Outcome], fleet: Iterable[Node], best: Optimum) -> dict[str, Any]:
    """The report of one fleet: its nodes, one entry a policy, and the least that any policy could reach."""
    return {
        "fleet": [{"name": n.name, "capacity": capacity.to_json(Room(n).total)} for n in sorted(fleet, key=_name)],
        "policies": [_outcome_json(outcome) for outcome in outcomes],
        "optimum": {"kind": best.kind, "mean_wait_s": round(best.mean_wait_s, 6), "why": best.why},
    }


def _name(node: Node) -> str:
    return node.name


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "policy": outcome.policy,
        "items": outcome.items,
        "completed": outcome.completed,
        "rejected": outcome.rejected,
        "never_started": outcome.never_started,
        "preemptions": outcome.preemptions,
        "end_s": round(outcome.end_s, 3),
        "waits": _rounded(outcome.waits.summary()),
        "by_priority": {p: _rounded(one) for p, one in outcome.waits.by_priority().items()},
        "utilisation": outcome.use.summary(outcome.end_s),
    }


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in numbers.items()}


def text(report: Mapping[str, Any], outcome: Outcome, *, unicode: bool = True) -> list[str]:
    """Lines for a terminal: the waits of each policy, then how full each node was under the lab's own."""
    lines = _waits(report["policies"])
    if len({one["waits"]["mean_s"] for one in report["policies"]}) == 1 < len(report["policies"]):
        lines.append("Every policy came to the same: this work on this fleet leaves them nothing to choose.")
    best = report["optimum"]
    lines.append(_OPTIMUM[best["kind"]].format(seconds(best["mean_wait_s"]), best["why"]))
    first = report["policies"][0]
    if first["rejected"]:
        lines.append(f"{first['rejected']} of {first['items']} were rejected: no node could ever take them.")
    if first["never_started"]:
        lines.append(f"{first['never_started']} waited to the end for company that never came.")
    if len(first["by_priority"]) > 1:
        lines += ["", "Waits by priority, the most important first:"]
        lines += [
            f"  priority {name:>4}: {one['count']:>7}, mean {seconds(one['mean_s'])}, p95 {seconds(one['p95_s'])}, "
            f"longest {seconds(one['max_s'])}"
            for name, one in first["by_priority"].items()
        ]
    return [*lines, "", "How full each node was, over time:", *_levels(outcome, unicode=unicode)]


_OPTIMUM: Final = {
    "exact": "No order could have done better than a mean wait of {0} (exact, all orders searched).",
    "fluid": "No policy could have done better than a mean wait of {0} (a bound: the fleet as one machine).",
    "none": "The least possible wait was not computed: {1}.",
}


def _waits(policies: Sequence[Mapping[str, Any]]) -> list[str]:
    head = f"{'policy':<14}{'mean':>10}{'p50':>10}{'p95':>10}{'p99':>10}{'longest':>10}{'stopped':>9}"
    lines = [head]
    for one in policies:
        waits = one["waits"]
        cells = "".join(f"{seconds(waits[name]):>10}" for name in ("mean_s", "p50_s", "p95_s", "p99_s", "max_s"))
        lines.append(f"{one['policy']:<14}{cells}{one['preemptions']:>9}")
    return lines


def _levels(outcome: Outcome, *, unicode: bool) -> list[str]:
    lines: list[str] = []
    shares = outcome.use.summary(outcome.end_s)["nodes"]
    for node, series in outcome.use.series(outcome.end_s).items():
        if not any(shares[node].values()):
            lines.append(f"  {node:<12} idle")
        for name, values in series.items():
            if shares[node][name] > 0:
                chart = sparkline(values, unicode=unicode)
                lines.append(f"  {node:<12} {capacity.noun(name):<12} {shares[node][name] * 100:5.1f}%  {chart}")
    return lines


def sparkline(values: Sequence[float], *, width: int = 60, unicode: bool = True) -> str:
    """Shares from 0 to 1 as one line of at most `width` characters, each the mean of its part."""
    marks = _BARS if unicode else _PLAIN
    step = max(1, -(-len(values) // width))
    parts = [values[n : n + step] for n in range(0, len(values), step)]
    means = [sum(part) / len(part) for part in parts]
    return "".join(marks[max(1, min(8, round(mean * 8))) if mean > 0 else 0] for mean in means)


def seconds(value: float) -> str:
    """A wait for people: `0 s`, `85 ms`, `4.2 s`, `3.5 min`, `2.1 h`."""
    if value == 0:
        return "0 s"
    for limit, size, unit in ((1, 0.001, "ms"), (100, 1, "s"), (6000, 60, "min")):
        if value < limit:
            return f"{value / size:.3g} {unit}"
    return f"{value / 3600:.3g} h"


_WAIT_WORDS: Final = {"mean_s": "mean", "p95_s": "p95", "p99_s": "p99", "max_s": "longest"}


def compare(without: Mapping[str, Any], with_: Mapping[str, Any], added: str) -> tuple[dict[str, Any], list[str]]:
    """What the added node changes, as JSON and as lines, under the lab's own placement."""
    old, new = without["policies"][0], with_["policies"][0]
    shares: dict[str, list[float]] = {
        name: [old["utilisation"]["resources"].get(name, 0.0), share]
        for name, share in new["utilisation"]["resources"].items()
    }
    waits: dict[str, list[float]] = {
        name: [old["waits"][name], new["waits"][name]] for name in old["waits"] if name != "count"
    }
    body: dict[str, Any] = {
        "added": added,
        "waits": waits,
        "rejected": [old["rejected"], new["rejected"]],
        "utilisation": shares,
    }
    lines = [f"With {added}:", f"  {'':<22}{'without':>10}{'with':>10}"]
    for name in ("mean_s", "p95_s", "p99_s", "max_s"):
        before, after = waits[name]
        lines.append(f"  {'wait, ' + _WAIT_WORDS[name]:<22}{seconds(before):>10}{seconds(after):>10}")
    lines.append(f"  {'rejected':<22}{old['rejected']:>10}{new['rejected']:>10}")
    for name, (before, after) in shares.items():
        lines.append(f"  {capacity.noun(name) + ' in use':<22}{before * 100:>9.1f}%{after * 100:>9.1f}%")
    return body, lines
