"""What is learned of a job, what is unusual, and that a simulated year of faults is told without false alarms."""

import math
import random
from itertools import pairwise

import pytest
from benchmarks.simulated_year import KINDS, Score, World, simulate
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.usual import ENOUGH, KEPT, Expected, Found, Habit, Run, late_limit_s, learn, stuck, stuck_limit_s

DAY_S = 86400.0
QUIET = Found(settled=("slow", "silent", "shrunken"))


def runs(took_s: list[float], *, gap_s: float = DAY_S, output_bytes: int | None = 5000) -> list[Run]:
    return [Run(ended=n * gap_s, took_s=took, output_bytes=output_bytes, late_s=0.1) for n, took in enumerate(took_s)]


def after(habit: Habit, took_s: float, *, output_bytes: int = 5000, days: float = 1) -> Found:
    return habit.observe(Run(ended=habit.ends[-1] + days * DAY_S, took_s=took_s, output_bytes=output_bytes))


def test_a_year_of_the_example_lab_names_the_faults_and_raises_hardly_a_false_alarm() -> None:
    score = Score()
    for seed in (200, 201):  # not among the seeds that the rules were tuned on
        score.add(simulate(seed, most_runs=900))
    assert score.seeded.total() > 100 and all(score.seeded[kind] >= 15 for kind in KINDS)
    assert score.share >= 0.95
    assert score.false_a_month <= 1.0


def test_with_heavier_tails_it_is_still_no_flood() -> None:
    score = simulate(202, World(tail=4), most_runs=500)
    assert score.share >= 0.85 and score.false_a_month <= 3


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9)), max_size=ENOUGH - 1), st.floats(0, 1e9))
def test_too_few_runs_say_nothing(past: list[tuple[float, int]], now_s: float) -> None:
    habit = learn(Run(ended=n * DAY_S, took_s=took, output_bytes=size) for n, (took, size) in enumerate(past))
    assert stuck_limit_s(habit, 0.0) is None and stuck(habit, going_s=now_s, when=0.0) is None
    assert habit.observe(Run(ended=1e6, took_s=now_s, output_bytes=0)) == QUIET


@given(st.lists(st.floats(0, 1e5), min_size=ENOUGH, max_size=60), st.data())
def test_nothing_as_quick_as_three_past_runs_is_slow_and_nothing_is_stuck_within_a_minute_of_the_longest(
    past: list[float], data: st.DataObject
) -> None:
    habit = learn(runs(past, gap_s=7 * DAY_S))  # of one weekday: none that is a habit of its own
    limit_s = stuck_limit_s(habit, 0.0)
    known = habit.took.spread()
    assert limit_s is not None and known is not None
    assert limit_s >= known.largest + 60
    assert after(habit, data.draw(st.floats(0, habit.took.third())), days=7).slow is None


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 10**12), st.booleans()), max_size=150), st.floats(1, 1e6))
def test_memory_is_bounded_and_the_same_runs_make_the_same_habit(
    history: list[tuple[float, int, bool]], gap_s: float
) -> None:
    told = [
        Run(ended=n * gap_s, took_s=took, output_bytes=size, is_good=good)
        for n, (took, size, good) in enumerate(history)
    ]
    one, other = learn(told), learn(told)
    assert len(one.took) <= KEPT and len(one.printed) <= KEPT and one.runs <= KEPT
    assert one.took.spread() == other.took.spread() and stuck_limit_s(one, 5.0) == stuck_limit_s(other, 5.0)
    failed, of = one.failures()
    assert 0 <= failed <= of <= KEPT


@given(st.lists(st.floats(0.01, 1e4), min_size=20, max_size=60), st.floats(0.1, 1000))
def test_a_longer_run_is_never_less_unusual(past: list[float], more_s: float) -> None:
    first, second = learn(runs(past)), learn(runs(past))
    worst = max(past)
    if after(first, worst + more_s).slow is not None:
        assert after(second, worst + 2 * more_s).slow is not None


def test_one_odd_run_of_a_frequent_job_is_no_news_and_the_second_in_a_row_is() -> None:
    habit = learn(runs([20.0 + n % 5 for n in range(60)], gap_s=120))
    at = habit.ends[-1]
    assert habit.observe(Run(ended=at + 120, took_s=90, output_bytes=5000)).slow is None
    found = habit.observe(Run(ended=at + 240, took_s=95, output_bytes=5000))
    assert found.slow is not None and found.slow.reason == "It took 95 s; usually 20 to 24 s (58 runs)."
    assert habit.observe(Run(ended=at + 360, took_s=21, output_bytes=5000)) == QUIET


def test_a_full_backup_every_sunday_is_usual_and_a_slow_weekday_is_not() -> None:
    chance = random.Random(3)
    nights = [(600.0 if n % 7 == 3 else 30.0) * chance.uniform(0.9, 1.1) for n in range(70)]
    habit = Habit()
    alarms = sum(habit.observe(run).slow is not None for run in runs(nights))
    assert alarms == 0
    found = after(habit, 200)  # number 70 is no Sunday
    assert found.slow is not None and found.slow.reason.startswith("It took 3 min; usually 27 to 33 s (")
    assert [after(habit, 30).slow, after(habit, 31).slow, after(habit, 650).slow] == [None, None, None]
    sunday = learn(runs(nights[:66]))
    found = after(sunday, 6000)
    assert found.slow is not None and "on this weekday (9 runs)" in found.slow.reason


def test_a_job_that_grows_slowly_is_never_slow() -> None:
    habit, chance = Habit(), random.Random(5)
    year = [60 * (1 + 2 * n / 365) * chance.lognormvariate(0, 0.15) for n in range(365)]
    assert [run for run in runs(year) if habit.observe(run).slow] == []
    spread = habit.took.spread()
    assert spread is not None and 140 < spread.middle < 190


def test_a_job_that_is_slower_for_good_is_learned_anew() -> None:
    habit = learn(runs([60.0 + n % 7 for n in range(50)]))
    levels = [after(habit, 300.0 + n % 7) for n in range(12)]
    assert levels[0].slow is not None and levels[9].learned == ("slow",) and levels[11] == QUIET
    spread = habit.took.spread()
    assert spread is not None and spread.middle > 295


def test_a_job_that_stops_printing_for_good_is_learned_anew() -> None:
    habit = learn(runs([60.0] * 50))
    found = [after(habit, 60, output_bytes=0) for _ in range(30)]
    assert found[0].silent is not None and "silent" in found[9].learned
    assert all(one.silent is None for one in found[10:])


@given(st.lists(st.sampled_from([0, 900, 1000]), min_size=30, max_size=60))
def test_a_job_that_prints_now_and_then_is_neither_silent_nor_shrunken(sizes: list[int]) -> None:
    past = [*[0, 900] * 5, *sizes]
    habit = learn(Run(ended=n * DAY_S, took_s=1, output_bytes=size) for n, size in enumerate(past))
    found = after(habit, 1, output_bytes=0)
    if sizes.count(0) >= 3:
        assert found.silent is None and found.shrunken is None


def test_what_a_person_expects_wins_over_what_was_learned() -> None:
    habit = learn(runs([60.0 + n % 3 for n in range(50)]), expected=Expected(duration_s=3600, output_bytes=0, late_s=7))
    assert after(habit, 3000, output_bytes=0) == QUIET
    assert stuck_limit_s(habit, 0.0) == 3 * 3600 and late_limit_s(habit, DAY_S) == 7
    habit.expected = Expected(duration_s=10, output_bytes=6000)
    found = after(habit, 61)
    assert found.slow is not None and found.slow.reason == "It took 61 s; the lab file expects at most 10 s."
    assert found.shrunken is not None
    assert found.shrunken.reason == "It succeeded but printed only 5.0 kB; the lab file expects at least 6.0 kB."


@pytest.mark.parametrize(("period_s", "limit_s"), [(None, 60), (60, 60), (1800, 180), (DAY_S, 300)])
def test_without_history_a_run_is_late_after_a_tenth_of_its_period(period_s: float | None, limit_s: float) -> None:
    assert late_limit_s(None, period_s) == limit_s


def test_the_limits_do_not_jump_while_the_same_goes_on() -> None:
    chance, habit = random.Random(9), Habit()
    limits: list[float] = []
    for run in runs([chance.lognormvariate(math.log(60), 0.2) for _ in range(300)]):
        habit.observe(run)
        limits += [found] if (found := stuck_limit_s(habit, run.ended)) is not None else []
    assert all(0.6 < later / earlier < 1.7 for earlier, later in pairwise(limits[30:]))
