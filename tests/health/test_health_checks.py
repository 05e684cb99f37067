"""The schedule of active checks: nobody is asked for nothing, and nobody who is away is left unasked."""

import itertools
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.health.checks import DOUBT, JITTER, CheckSchedule
from fairlead.health.config import CheckingConfig

CONFIG = CheckingConfig()
SHORTEST_S, LONGEST_S = (CONFIG.interval_s * (1.0 + sign * JITTER) for sign in (-1, 1))


def schedule_of(*nodes: str, seed: int = 0) -> CheckSchedule:
    schedule = CheckSchedule(CONFIG, seed)
    for node in nodes:
        schedule.join(node, 0.0)
    return schedule


def next_due(schedule: CheckSchedule) -> float:
    due_s = schedule.next_due_s()
    assert due_s is not None
    return due_s


def follow(schedule: CheckSchedule, until_s: float, *, is_well: bool, from_s: float = 0.0) -> list[float]:
    """Ask whoever is due, with an answer at once, and return when that was."""
    asked_s, now_s = [], from_s
    while (now_s := max(next_due(schedule), now_s)) <= until_s:
        for node in schedule.due(now_s):
            asked_s.append(now_s)
            schedule.result(node, is_well, now_s)
    return asked_s


def gaps(times_s: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times_s)]


def test_nobody_to_ask() -> None:
    schedule = schedule_of()
    assert schedule.next_due_s() is None
    assert schedule.due(1e9) == []


def test_a_node_that_joins_is_asked_soon() -> None:
    assert 0.0 <= next_due(schedule_of("a")) < CONFIG.interval_s / DOUBT


@pytest.mark.parametrize(("is_well", "factor"), [(True, 1.0), (False, 1.0 / DOUBT)])
def test_intervals_are_spread_round_their_length_and_are_shorter_in_doubt(is_well: bool, factor: float) -> None:
    between = gaps(follow(schedule_of("a"), 2000.0, is_well=is_well))
    assert SHORTEST_S * factor * 0.999 <= min(between) < 0.85 * CONFIG.interval_s * factor
    assert LONGEST_S * factor * 1.001 >= max(between) > 1.15 * CONFIG.interval_s * factor
    assert sum(between) / len(between) == pytest.approx(CONFIG.interval_s * factor, rel=0.03)


def test_the_same_seed_gives_the_same_times_and_another_one_others() -> None:
    times = [follow(schedule_of("a", "b", seed=seed), 60.0, is_well=True) for seed in (1, 1, 2)]
    assert times[0] == times[1] != times[2]


def test_nodes_that_joined_together_are_not_asked_together() -> None:
    schedule = schedule_of(*(f"n{i}" for i in range(20)))
    per_second = Counter(int(at_s) for at_s in follow(schedule, 60.0, is_well=True))
    assert max(per_second[second] for second in range(30, 60)) <= 12


def test_who_answers_tasks_is_not_asked_until_it_has_been_silent_for_an_interval() -> None:
    schedule = schedule_of("a", "b")
    asked: list[tuple[float, str]] = []
    for tenth in range(1200):
        now_s = tenth / 10.0
        if now_s <= 60.0:
            schedule.answered("a", now_s)
        for node in schedule.due(now_s):
            asked.append((now_s, node))
            schedule.result(node, is_well=True, now_s=now_s)
    first_of_a = min(at_s for at_s, node in asked if node == "a")
    assert 60.0 + SHORTEST_S <= first_of_a <= 60.0 + LONGEST_S + 0.2
    assert sum(node == "b" for _, node in asked) > 20


def test_one_that_is_being_asked_is_not_due_until_its_answer_must_have_been_lost() -> None:
    schedule = schedule_of("a")
    assert schedule.due(1.0) == ["a"]
    lost_s = 1.0 + CONFIG.timeout_s + CONFIG.interval_s
    assert schedule.due(lost_s - 0.01) == []
    assert schedule.due(lost_s) == ["a"]


def test_doubt_brings_the_next_check_forward_once() -> None:
    schedule = schedule_of("a")
    follow(schedule, 10.0, is_well=True)
    now_s = next_due(schedule) - 0.9 * SHORTEST_S
    schedule.doubt("a", now_s)
    first_s = next_due(schedule)
    assert first_s <= now_s + LONGEST_S / DOUBT
    for i in range(100):
        schedule.doubt("a", now_s + i / 1000)
    assert next_due(schedule) == first_s


def test_doubt_never_puts_a_check_off() -> None:
    schedule = schedule_of("a")
    before_s = next_due(schedule)
    schedule.doubt("a", before_s - 0.01)
    assert next_due(schedule) == before_s


def test_an_answer_from_before_the_doubt_does_not_end_it() -> None:
    late, fresh = schedule_of("a"), schedule_of("a")
    for schedule, answered_s in ((late, 0.9), (fresh, 1.1)):
        assert schedule.due(1.0) == ["a"]
        schedule.result("a", is_well=False, now_s=1.0)
        schedule.answered("a", answered_s)
    assert late.due(1.0 + LONGEST_S / DOUBT) == ["a"]
    assert fresh.due(1.0 + LONGEST_S / DOUBT) == []


def test_one_that_left_is_not_asked_and_may_come_back() -> None:
    schedule = schedule_of("a")
    schedule.leave("a")
    schedule.result("a", is_well=True, now_s=0.5)
    schedule.answered("a", 0.5)
    schedule.doubt("a", 0.5)
    assert schedule.due(100.0) == []
    schedule.join("a", 100.0)
    assert schedule.due(101.0) == ["a"]


STEPS = st.tuples(st.sampled_from(["well", "ill", "answered", "doubt", "nothing"]), st.floats(0.0, 3.0))


@given(st.lists(STEPS, max_size=60), st.integers(0, 2**32))
@settings(derandomize=True, deadline=None)
def test_whatever_happens_a_silent_node_is_asked_within_its_longest_interval(
    steps: list[tuple[str, float]], seed: int
) -> None:
    schedule, now_s, is_asked = schedule_of("a", seed=seed), 0.0, False
    for step, by_s in steps:
        now_s += by_s
        if schedule.due(now_s):
            is_asked = True
        if step in {"well", "ill"} and is_asked:
            schedule.result("a", step == "well", now_s)
            is_asked = False
        elif step == "answered":
            schedule.answered("a", now_s)
        elif step == "doubt":
            schedule.doubt("a", now_s)
    longest_s = CONFIG.timeout_s + CONFIG.interval_s if is_asked else LONGEST_S
    found: list[str] = []
    while not found:
        now_s = max(next_due(schedule), now_s)
        found = schedule.due(now_s)
    assert now_s <= sum(by_s for _, by_s in steps) + longest_s + 1e-6


@pytest.mark.parametrize("away_s", [3.0, 11.0, 47.0])
def test_a_node_that_was_away_is_found_well_within_the_notice_that_is_promised(away_s: float) -> None:
    for seed in range(20):
        schedule, now_s = schedule_of("a", seed=seed), 0.0
        back_s = 20.0 + away_s
        schedule.doubt("a", 20.0)  # its circuit opened
        found_s = None
        while found_s is None:
            now_s = max(next_due(schedule), now_s)
            for node in schedule.due(now_s):
                is_well = not 20.0 <= now_s < back_s
                takes_s = 0.01 if is_well else CONFIG.timeout_s
                schedule.result(node, is_well, now_s + takes_s)
                if is_well and now_s > 20.0:
                    found_s = now_s + takes_s
                now_s += takes_s
        assert found_s - back_s <= schedule.notice_s
