"""How well the lab knows what is unusual: `benchmarks.simulated_year` on seeds that the rules were not tuned on."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from benchmarks.measuring import Row
from benchmarks.simulated_year import KINDS, Score, World, simulate

SEEDS = range(100, 120)
"""The rules were tuned on seeds 1 to 5."""
OTHER_SEEDS = range(100, 110)
OTHER_RUNS = 5000
"""Other worlds are simulated with at most so many runs a job."""
LEAST_NAMED = 0.95
MOST_FALSE_A_MONTH = 1.0
_FULL = "weekly full backups (10 to 30 times as long) in "
WORLDS = {
    "heavier tails (Student's t, 4 degrees of freedom)": World(tail=4),
    "very heavy tails (3 degrees of freedom)": World(tail=3),
    "twice the spread": World(sigma=2),
    "ten times as many odd runs": World(outliers=10),
    f"{_FULL}half of the rare jobs": World(bimodal=0.5),
    "full backups at random (one in seven) in half of the rare jobs": World(bimodal=0.5, is_weekly=False),
    "slow is only 3 to 4 times as long": World(mild=4),
}


def simulated_year(work: Path) -> list[Row]:
    """The year of the example lab, and other worlds without a target."""
    del work
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        score = Score()
        for number, one in enumerate(pool.map(simulate, SEEDS), 1):
            score.add(one)
            print(f"    year {number} of {len(SEEDS)}: {_words(score)}", file=sys.stderr, flush=True)
        kinds = ", ".join(f"{kind} {score.named[kind]} of {score.seeded[kind]}" for kind in KINDS)
        false = ", ".join(f"{kind} {count}" for kind, count in score.false.most_common())
        rows = [
            Row(
                f"simulated year of 46 jobs, {len(SEEDS)} seeds: faults named within two runs",
                f"{score.share:.1%} ({kinds})",
                f"{LEAST_NAMED:.0%}",
                score.share >= LEAST_NAMED,
            ),
            Row(
                f"the same: false alarms a month, all jobs together ({score.runs / 1e6:.0f} million runs)",
                f"{score.false_a_month:.2f} ({false})",
                f"{MOST_FALSE_A_MONTH:g}",
                score.false_a_month <= MOST_FALSE_A_MONTH,
            ),
        ]
        for name, world in {"the same world": World(), **WORLDS}.items():
            other = Score()
            for one in pool.map(_shorter, OTHER_SEEDS, repeat(world)):
                other.add(one)
            rows.append(Row(f"at most {OTHER_RUNS} runs a job, {name}", _words(other)))
    return rows


def _shorter(seed: int, world: World) -> Score:
    return simulate(seed, world, most_runs=OTHER_RUNS)


def _words(score: Score) -> str:
    return f"{score.share:.1%} named, {score.false_a_month:.2f} false a month"
