"""A simulation as one HTML page: the tables of its report, and how full each node was over time, as SVG.

The page is whole by itself: no scripts, nothing fetched; its colours follow the reader's light or dark setting.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from homelab.core import capacity
from homelab.simulation.engine import Outcome
from homelab.simulation.report import seconds

Nodes = Sequence[tuple[str, Sequence[float]]]
"""Each node with its shares over time, none when it has nothing of the resource. The place gives the colour."""
_WIDE, _HIGH, _LEFT, _TOP = 720, 120, 40, 8
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #59636e; --line: #d1d9e0; --ground: #fff;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9198a1; --line: #3d444d; --ground: #0d1117;
  --c0: #4493f8; --c1: #f0883e; --c2: #3fb950; --c3: #ab7df8; --c4: #db61a2; --c5: #d29922; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 48rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: right; padding: .25rem .5rem;
  border-bottom: 1px solid var(--line); } th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; overflow-x: auto; } figcaption { font-weight: 600; } p, .key { color: var(--dim); }
svg { max-width: 100%; height: auto; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
svg path { fill: none; stroke-width: 1.5; } svg line { stroke: var(--line); }
""" + "".join(f".s{n} {{ stroke: var(--c{n}); }} .k{n} {{ color: var(--c{n}); }}\n" for n in range(6))


def page(title: str, report: Mapping[str, Any], outcome: Outcome, notes: Sequence[str] = ()) -> str:
    """The whole page. `notes`: further paragraphs, such as what an added node changes."""
    series = outcome.use.series(outcome.end_s)
    resources = sorted({name for levels in series.values() for name, values in levels.items() if any(values)})
    figures = "".join(
        _figure(name, [(node, levels.get(name, ())) for node, levels in series.items()], outcome) for name in resources
    )
    said = "".join(f"<pre>{escape(note)}</pre>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>{_table(report['policies'])}{said}"
        f"<h2>How full each node was</h2>{figures}</body></html>\n"
    )


def _table(policies: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("policy", "mean wait", "p50", "p95", "p99", "longest", "rejected"))
    rows = "".join(
        f"<tr><td>{escape(one['policy'])}</td>"
        + "".join(f"<td>{seconds(one['waits'][key])}</td>" for key in ("mean_s", "p50_s", "p95_s", "p99_s", "max_s"))
        + f"<td>{one['rejected']}</td></tr>"
        for one in policies
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(resource: str, nodes: Nodes, outcome: Outcome) -> str:
    keys = " ".join(
        f'<span class="k{n % 6}">&#9632;</span> {escape(name)}' for n, (name, values) in enumerate(nodes) if values
    )
    return (
        f"<figure><figcaption>{escape(capacity.noun(resource))}</figcaption>"
        f'{chart(nodes, outcome.end_s, resource)}<div class="key">{keys}</div></figure>'
    )


def chart(nodes: Nodes, end_s: float, resource: str) -> str:
    """One line a node, shares from 0 to 1 over the whole time."""
    lines = "".join(
        f'<path class="s{n % 6}" d="{_path(values)}"><title>{escape(name)}</title></path>'
        for n, (name, values) in enumerate(nodes)
        if values
    )
    grid = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDE}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{share * 100:.0f}%</text>'
        for share in (0.0, 0.5, 1.0)
    )
    says = escape(f"Share of {capacity.noun(resource)} in use over {seconds(end_s)}, by node")
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH + 24}" width="{_WIDE}" height="{_HIGH + 24}" role="img" aria-label="{says}">'
        f'{grid}{lines}<text x="{_LEFT}" y="{_HIGH + 20}">0</text>'
        f'<text x="{_WIDE}" y="{_HIGH + 20}" text-anchor="end">{escape(seconds(end_s))}</text></svg>'
    )


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HIGH - _TOP)


def _path(values: Sequence[float]) -> str:
    step = (_WIDE - _LEFT) / max(1, len(values))
    parts: list[str] = []
    for n, value in enumerate(values):
        x = _LEFT + n * step
        parts.append(f"{'L' if parts else 'M'}{x:.1f} {_y(value):.1f}H{x + step:.1f}")
    return "".join(parts)
