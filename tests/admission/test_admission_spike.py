"""A tenfold rush of a minute on a fleet that is half busy: who is refused is told when to come, and gets in then.

What "right" means for a `Retry-After`, within 20 % or a second:

- *open*: at some moment within that tolerance of the time told, a task of that kind would be admitted if it came;
- *in turn*: the time told lies within that tolerance of the time at which somebody who knew what the fleet can do and
  who comes of themselves would have room, one after another in the order of their refusal. It shows that times told
  are not longer than they need be, and that the work put off is spread over the room there is.
"""

from bisect import bisect_right
from dataclasses import dataclass
from random import Random
from statistics import fmean, median

import pytest
from admission_shared import MEAN_TOKENS, Fleet, Job, job_maker, poisson, quantile

from fairlead.admission import QueueConfig, WaitLimits
from fairlead.domain import PriorityClass, class_of

pytestmark = pytest.mark.heavy

MIX = ((1, 0.1), (4, 0.6), (8, 0.3))
"""Interactive, normal, batch."""
MEAN_S = 2.0
RUSH_S = (400.0, 460.0)
END_S = 1_400.0
NOTICED_S = 3.0
"""The rush is noticed, and its end, after so long; then queues are tightened, and loosened."""
PROBE_S = 0.25


@dataclass
class Measured:
    """What one run showed; shares in [0, 1]."""

    interactive_lost: int
    interactive_p95_s: float
    refusals: int
    admitted: float
    is_open: float
    in_turn: float
    in_turn_ratio: float
    """Median of time told / time in turn."""
    utilization: float
    """In the five minutes from half a minute after the rush on."""
    waits_s: dict[int, tuple[float, float]]
    """By level, p95 of the wait of those who came for the first time: before, and from 30 s to 60 s after the rush."""


class Rush:
    """One run."""

    def __init__(self, seed: int, slots: int) -> None:
        draw = Random(seed)
        self.fleet = fleet = Fleet(slots, comes_again=True)
        self.capacity = slots * MEAN_TOKENS / MEAN_S
        make, usual = job_maker(draw, MIX, MEAN_S), 0.5 * slots / MEAN_S
        begins_s, ends_s = RUSH_S
        poisson(fleet, draw, (0.0, begins_s), usual, make)
        poisson(fleet, draw, (begins_s, ends_s), 10 * usual, make)
        poisson(fleet, draw, (ends_s, END_S), usual, make)
        self.shed: frozenset[PriorityClass] = frozenset()
        self.share = 1.0
        batch = frozenset((PriorityClass.BATCH,))
        fleet.time.at(begins_s + NOTICED_S, lambda: self.tighten(batch, 0.2))
        fleet.time.at(ends_s + NOTICED_S, lambda: self.tighten(frozenset(), 1.0))
        self.open: dict[int, list[bool]] = {level: [] for level, _ in MIX}
        fleet.time.at(begins_s, self.probe)
        fleet.time.run_until(END_S)

    def tighten(self, shed: frozenset[PriorityClass], share: float) -> None:
        self.shed, self.share = shed, share
        self.fleet.queue.tighten(shed=shed, share=share)

    def probe(self) -> None:
        """Note for each class whether one more of it would be let in, or let wait."""
        now_s = self.fleet.time.now_s
        for level, record in self.open.items():
            kind = class_of(level)
            share = 1.0 if kind is PriorityClass.INTERACTIVE else self.share
            expected_s = self.fleet.queue.expected_wait_s(level, MEAN_TOKENS, now_s)
            record.append(kind not in self.shed and expected_s <= 0.8 * share * WaitLimits().of(kind))
        self.fleet.time.after(PROBE_S, self.probe)

    def is_open(self, job: Job, told_s: float, after_s: float) -> bool:
        tolerance_s = max(0.2 * after_s, 1.0)
        record = self.open[job.priority]
        first = int((told_s + after_s - tolerance_s - RUSH_S[0]) / PROBE_S)
        last = int((told_s + after_s + tolerance_s - RUSH_S[0]) / PROBE_S)
        return any(record[max(first, 0) : last + 1])

    def in_turn(self) -> list[tuple[float, float]]:
        """Return (told, in turn) of first refusals, in seconds from then."""
        unasked = sorted((job.came_s, job.tokens) for job in self.fleet.jobs if not job.refusals)
        times, sums = [at_s for at_s, _ in unasked], [0]
        for _, tokens in unasked:
            sums.append(sums[-1] + tokens)
        refused = sorted((job for job in self.fleet.jobs if job.refusals), key=lambda job: job.refusals[0][0])
        began_s = refused[0].refusals[0][0]
        before = sums[bisect_right(times, began_s)]
        owed = sum(
            job.tokens for job in self.fleet.jobs if not job.refusals and job.came_s <= began_s < (job.begun_s or END_S)
        )
        pairs, at_s = [], began_s
        for job in refused:
            owed += job.tokens
            told_s, refusal = job.refusals[0]
            at_s = max(at_s, told_s)
            while (at_s - began_s) * self.capacity < owed + sums[bisect_right(times, at_s)] - before:
                at_s += PROBE_S
            pairs.append((refusal.retry_after_s, at_s - told_s))
        return pairs

    def p95_s(self, from_s: float, to_s: float, level: int) -> float:
        jobs = [job for job in self.fleet.jobs if from_s <= job.came_s < to_s and job.priority == level]
        return quantile((job.wait_s for job in jobs if len(job.tries) == 1 and job.begun_s is not None), 0.95)

    def utilization(self, from_s: float, to_s: float) -> float:
        spans = [
            (job.begun_s, job.ended_s)
            for job in self.fleet.jobs
            if job.begun_s is not None and job.ended_s is not None and job.begun_s < to_s and job.ended_s > from_s
        ]
        busy_s = sum(min(ended_s, to_s) - max(begun_s, from_s) for begun_s, ended_s in spans)
        return busy_s / (self.fleet.slots * (to_s - from_s))

    def measured(self) -> Measured:
        begins_s, ends_s = RUSH_S
        people = [job for job in self.fleet.jobs if job.priority == 1]
        told = [
            (job, told_s, refusal.retry_after_s, number)
            for job in self.fleet.jobs
            for number, (told_s, refusal) in enumerate(job.refusals)
            if told_s + refusal.retry_after_s < END_S - 20.0
        ]
        pairs = self.in_turn()
        return Measured(
            interactive_lost=sum(bool(job.refusals) for job in people),
            interactive_p95_s=self.p95_s(begins_s, ends_s, 1),
            refusals=sum(len(job.refusals) for job in self.fleet.jobs),
            admitted=sum(number + 1 == len(job.refusals) for job, _, _, number in told) / len(told),
            is_open=sum(self.is_open(job, told_s, after_s) for job, told_s, after_s, _ in told) / len(told),
            in_turn=sum(abs(one - other) <= max(0.2 * other, 1.0) for one, other in pairs) / len(pairs),
            in_turn_ratio=quantile((one / max(other, 0.1) for one, other in pairs), 0.5),
            utilization=self.utilization(ends_s + 30.0, ends_s + 330.0),
            waits_s={
                level: (
                    self.p95_s(begins_s - 300.0, begins_s, level),
                    self.p95_s(ends_s + 30.0, ends_s + 60.0, level),
                )
                for level, _ in MIX
            },
        )


def check(run: Measured) -> None:
    assert run.interactive_lost == 0
    assert run.interactive_p95_s < 1.5, "a slot comes free for it within a part of a task's time"
    assert run.refusals > 1_000
    assert run.admitted >= 0.9, "who comes when told gets in"
    assert run.is_open >= 0.95
    for level in (1, 4):
        before_s, after_s = run.waits_s[level]
        assert after_s <= before_s + 2.0, "half a minute later newcomers wait as before, or a task's time at most"
    assert run.waits_s[8][1] <= 60.0, "batch work, which was shed, comes after the rest"


@pytest.mark.parametrize(("seed", "slots"), [(1, 16), (2, 16), (3, 48)])
def test_a_tenfold_rush(seed: int, slots: int) -> None:
    run = Rush(seed, slots).measured()
    check(run)
    assert 0.75 <= run.in_turn_ratio <= 1.33, "times told are neither too short, nor longer than they need be"
    assert run.utilization >= 0.85, "what was put off is done in the room there is"


@pytest.mark.soak
def test_many_tenfold_rushes() -> None:
    runs = [Rush(seed, 16).measured() for seed in range(3, 13)]
    for run in runs:
        check(run)
    assert 0.85 <= median(run.in_turn_ratio for run in runs) <= 1.2
    assert median(run.in_turn for run in runs) >= 0.6
    assert fmean(run.admitted for run in runs) >= 0.95
    assert fmean(run.utilization for run in runs) >= 0.85


def test_interactive_work_takes_the_place_of_less_urgent_work() -> None:
    """With room for so few that the queue is full at once, nobody waits who is less urgent than somebody refused."""
    draw = Random(4)
    fleet = Fleet(4, QueueConfig(max_waiting=16))
    poisson(fleet, draw, (0.0, 60.0), 12.0, job_maker(draw, MIX))
    fleet.time.run()
    people = [job for job in fleet.jobs if job.priority == 1]
    assert not any(job.refusals for job in people)
    assert sum(job.evicted for job in fleet.jobs) > 0
    assert all(job.begun_s is not None or job.refusals for job in fleet.jobs)


def test_times_told_follow_one_after_another() -> None:
    draw = Random(5)
    fleet = Fleet(8)
    make = job_maker(draw, ((4, 1.0),))
    poisson(fleet, draw, (0.0, 200.0), 2.0, make)
    poisson(fleet, draw, (200.0, 230.0), 40.0, make)
    fleet.time.run_until(230.0)
    told = [told_s + refusal.retry_after_s for job in fleet.jobs for told_s, refusal in job.refusals]
    assert len(told) > 200
    assert told == sorted(told)
    assert told[-1] - told[0] > 60.0, "they do not all come back at once"


def test_a_refusal_says_why_and_when_in_plain_words() -> None:
    fleet = Fleet(2)
    make = job_maker(Random(6), ((4, 1.0),), sigma=0.1)
    for _ in range(200):
        fleet.come(make(0.0))
    fleet.time.run_until(20.0)
    late = make(20.0)
    late.deadline_s = 25.0
    fleet.come(late)
    reason = late.refusals[0][1]
    assert reason.reason == "deadline"
    assert "deadline cannot be met: a normal task waits about" in reason.message
    fleet.queue.tighten(shed=frozenset((PriorityClass.NORMAL,)))
    shed = make(20.0)
    fleet.come(shed)
    assert shed.refusals[0][1].reason == "shed"
    fleet.queue.tighten()
    for _ in range(10):
        fleet.come(make(20.0))
    assert fleet.jobs[-1].refusals[0][1].reason == "too_long"
    assert "s are allowed now; try again in" in fleet.jobs[-1].refusals[0][1].message


def test_the_expected_wait_is_about_the_wait() -> None:
    draw = Random(7)
    fleet = Fleet(16)
    make = job_maker(draw, ((4, 1.0),))
    poisson(fleet, draw, (0.0, 120.0), 12.0, make)
    expected: list[tuple[float, Job]] = []

    def ask() -> None:
        job = make(fleet.time.now_s)
        expected.append((fleet.queue.expected_wait_s(4, job.tokens, fleet.time.now_s), job))
        fleet.come(job)

    for second in range(40, 120, 5):
        fleet.time.at(float(second), ask)
    fleet.time.run_until(400.0)
    errors = [abs(said_s - job.wait_s) / job.wait_s for said_s, job in expected if job.begun_s is not None]
    assert len(errors) >= 10
    assert quantile(errors, 0.5) < 0.2
