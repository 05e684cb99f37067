"""What `fairlead.testing` gives to users: clocks, virtual time, virtual fleets, and laws with teeth."""

import pytest
from core_shared import task_of, virtual_fleet

from fairlead.admission.config import QueueConfig
from fairlead.categories.rules import RuleDetector
from fairlead.domain import Node, Task, TaskCategory
from fairlead.errors import Fault, NoCandidateError
from fairlead.rng import Draw
from fairlead.routing import Choice, Pool, RoutingSettings, make_strategy
from fairlead.routing.contract import StrategyFactory
from fairlead.routing.strategies.round_robin import RoundRobin
from fairlead.testing import (
    Behaviour,
    ManualClock,
    ServiceTimes,
    TaskRecord,
    VirtualFleet,
    VirtualTime,
    always,
    detector_laws,
    during,
    never,
    sometimes,
    strategy_laws,
)


def test_a_manual_clock_moves_when_told() -> None:
    clock = ManualClock(5.0)
    clock.advance(2.5)
    assert clock() == clock.now_s == 7.5
    for backwards in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="does not run backwards"):
            clock.advance(backwards)


def test_virtual_time_runs_in_order_and_ties_in_the_order_of_asking() -> None:
    time, heard = VirtualTime(), list[tuple[float, str]]()

    def say(word: str) -> None:
        heard.append((time(), word))

    def say_twice(word: str, later: str) -> None:
        say(word)
        time.after(0.5, lambda: say(later))

    time.at(2.0, lambda: say("c"))
    time.at(1.0, lambda: say("a"))
    time.at(1.0, lambda: say_twice("b", "nested"))
    assert time.run_until(1.5) == 3
    assert (time.now_s, len(time)) == (1.5, 1)
    assert time.run() == 1
    assert heard == [(1.0, "a"), (1.0, "b"), (1.5, "nested"), (2.0, "c")]
    assert time.run_until(9.0) == 0
    assert time.now_s == 9.0
    with pytest.raises(ValueError, match="is over"):
        time.at(8.9, lambda: None)


def test_a_loop_is_found_not_followed() -> None:
    time = VirtualTime()

    def again() -> None:
        time.after(0.0, again)

    again()
    with pytest.raises(RuntimeError, match="no end after 50 steps"):
        time.run(max_steps=50)


def test_behaviours() -> None:
    task, draw = task_of(), Draw(0, 0)
    assert never(task, 0.0, draw) is None
    assert always(Fault.CONNECT)(task, 0.0, draw) is Fault.CONNECT
    outage = during(1.0, 2.0, Fault.TIMEOUT)
    assert [outage(task, at_s, draw) for at_s in (0.9, 1.0, 1.9, 2.0)] == [None, Fault.TIMEOUT, Fault.TIMEOUT, None]
    half = [sometimes(0.5, Fault.TIMEOUT)(task, 0.0, Draw(0, key)) for key in range(1000)]
    assert 450 < half.count(None) < 550
    small = Behaviour(context_tokens=100)
    assert small.fate(task_of(input_tokens=101), 0.0, draw) == (Fault.CONTEXT, 0.001)
    takes_s = [Behaviour(service_s=1.0, jitter=0.2).fate(task, 0.0, Draw(0, key))[1] for key in range(100)]
    assert 0.8 <= min(takes_s) < 0.9
    assert 1.1 < max(takes_s) <= 1.2


def test_a_record_tells_the_whole_way() -> None:
    fleet = virtual_fleet("round_robin")
    fleet.add(Node("bad", slots=1), Behaviour(fails=always(Fault.CONNECT), failure_s=0.5))
    fleet.add(Node("good", slots=1), Behaviour(service_s=2.0))
    first, second = fleet.submit(1.0, task_of(0)), fleet.submit(1.0, task_of(1))
    gone = fleet.submit(1.0, task_of(2))
    fleet.cancel(1.2, gone)
    with pytest.raises(ValueError, match="under way"):
        fleet.submit(1.0, task_of(0))
    fleet.run()
    assert (first.nodes, first.sent_s, first.ended_s, first.succeeded) == (["bad", "good"], [1.0, 3.0], 5.0, True)
    assert (second.node, second.attempts, second.ended_s) == ("good", 1, 3.0)
    assert (gone.is_cancelled, gone.ended_s, gone.node) == (True, 1.2, None)


def test_a_fleet_can_be_changed_under_way() -> None:
    fleet = virtual_fleet("round_robin")
    fleet.add("a")
    records = fleet.stream(10, 1.0)
    fleet.time.at(4.5, lambda: fleet.fleet.drain("a"))
    fleet.time.at(6.5, lambda: fleet.add("b"))
    fleet.run()
    assert [record.node for record in records] == ["a"] * 5 + [None] * 2 + ["b"] * 3
    assert isinstance(records[5].error, NoCandidateError)


def test_tasks_wait_for_a_circuit_when_all_else_is_full() -> None:
    fleet = virtual_fleet("round_robin")
    fleet.add(Node("full", slots=1), Behaviour(service_s=100.0))
    fleet.add("back", Behaviour(fails=during(0.0, 1.0, Fault.CONNECT)))
    for i in range(12):
        fleet.submit(i * 0.05, task_of(i))
    fleet.submit(2.0, task_of(99))
    fleet.run()
    assert fleet.records[-1].succeeded
    assert fleet.records[-1].sent_s[0] < 100.0


# -- answers that take time by their tokens

STEADY = ServiceTimes(prefill_tokens_per_s=100.0, step_s=((1, 0.1),))


def test_a_step_takes_longer_the_more_answers_are_written() -> None:
    times = ServiceTimes(step_s=((1, 0.1), (3, 0.3), (5, 0.4)))
    assert [times.step_at(n) for n in (1, 2, 3, 4, 5, 7)] == pytest.approx([0.1, 0.2, 0.3, 0.35, 0.4, 0.5])
    for wrong in ({"prefill_tokens_per_s": 0.0}, {"step_s": ()}, {"step_s": ((1, -0.1),)}):
        with pytest.raises(ValueError, match="above 0"):
            ServiceTimes(**wrong)  # the mistake is the test


def test_prompts_are_read_one_after_another_and_answers_written_side_by_side() -> None:
    fleet = virtual_fleet("round_robin")
    fleet.add(Node("a"), Behaviour(times=ServiceTimes(prefill_tokens_per_s=100.0, step_s=((1, 0.1), (2, 0.2)))))
    first, second = (fleet.submit(0.0, task_of(i, input_tokens=90, output_tokens=21)) for i in range(2))
    fleet.run()
    assert (first.first_token_s, second.first_token_s) == pytest.approx((1.0, 2.0))
    # alone, the first writes 10 of its 20 further tokens while the second is read; then both go half as fast
    assert first.ended_s == pytest.approx(2.0 + 10 * 0.2)
    assert second.ended_s == pytest.approx(4.0 + 10 * 0.1)
    assert first.answer_tokens == 21


def test_an_answer_of_one_token_ends_as_it_begins() -> None:
    fleet = virtual_fleet("round_robin")
    fleet.add("a", Behaviour(times=STEADY))
    one = fleet.submit(0.0, task_of(0, input_tokens=90, output_tokens=1))
    fleet.run()
    assert one.began_s == one.ended_s == pytest.approx(1.0)


@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.5])
def test_what_is_cancelled_takes_no_more_time(at_s: float) -> None:
    """While it is read, while it waits to be read, and while it is written."""
    fleet = virtual_fleet("round_robin")
    fleet.add("a", Behaviour(times=STEADY))
    gone = fleet.submit(0.0, task_of(0, input_tokens=190, output_tokens=50))
    other = fleet.submit(0.0, task_of(1, input_tokens=90, output_tokens=11))
    fleet.cancel(at_s, gone)
    fleet.run()
    assert (gone.ended_s, gone.is_cancelled) == (at_s, True)
    assert other.ended_s == pytest.approx(min(at_s, 2.0) + 1.0 + 10 * 0.1)


def test_who_is_refused_hears_when_to_come_again_and_what_comes_then_is_told() -> None:
    fleet = VirtualFleet(make_strategy("round_robin"), queue=QueueConfig(max_waiting=0))
    fleet.add(Node("a", slots=1), Behaviour(times=STEADY))
    ends: list[TaskRecord] = []
    records = [fleet.submit(0.0, task_of(i, input_tokens=90, output_tokens=1), then=ends.append) for i in range(2)]
    fleet.run()
    assert ends == [records[1], records[0]]
    assert (records[0].retry_after_s, records[1].succeeded) == (None, False)
    assert (records[1].retry_after_s or 0.0) > 0.0


# -- laws with teeth


class Base(RoundRobin):
    name = "broken"


class Outsider(Base):
    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        choice = super().choose(task, pool, now_s, draw)
        self.first = getattr(self, "first", choice.picked)
        return Choice(self.first, (self.first,), (1.0,), "remembers somebody")


class Moody(Base):
    runs = 0

    def __init__(self, settings: RoutingSettings) -> None:
        super().__init__(settings)
        Moody.runs += 1

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        picked = pool.candidates[(task.key * Moody.runs) % len(pool.candidates)]
        return Choice(picked, (picked,), (1.0,), "as it feels")


class Forgetful(Base):
    def forget(self) -> None:
        del self._last


class Plodder(Base):
    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        picked = min(pool.candidates, key=lambda one: one.in_flight)
        return Choice(picked, (picked,), (1.0,), "looks at everyone")


class Silent(Base):
    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        choice = super().choose(task, pool, now_s, draw)
        return Choice(choice.picked, pool.candidates, (1.0,), "scores one of many")


@pytest.mark.parametrize(("make", "error"), [
    (Outsider, RuntimeError),
    (Moody, AssertionError),
    (Forgetful, AttributeError),
    (Plodder, AssertionError),
    (Silent, AssertionError),
])  # fmt: skip
def test_broken_strategies_are_caught(make: StrategyFactory, error: type[Exception]) -> None:
    strategy_laws(RoundRobin)
    with pytest.raises(error):
        strategy_laws(make)


class Counting:
    def __init__(self) -> None:
        self.asked = 0

    def detect(self, prompt: str) -> TaskCategory:
        self.asked += 1
        return TaskCategory.CODING if self.asked % 2 else TaskCategory.TESTING


class Plain:
    def detect(self, prompt: str) -> TaskCategory:
        return "coding"  # type: ignore[return-value]  # the mistake is the test


@pytest.mark.parametrize("make", [Counting, Plain])
def test_broken_detectors_are_caught(make: type[Counting | Plain]) -> None:
    detector_laws(RuleDetector)
    with pytest.raises(AssertionError):
        detector_laws(make)
