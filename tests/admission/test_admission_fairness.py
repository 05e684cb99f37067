"""Who goes first: classes, ageing, tenants' shares, deadlines, and big tasks among small ones."""

from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from admission_shared import Fleet, Job, job_maker, poisson, quantile
from hypothesis import given

from fairlead.admission import AdmissionQueue, QueueConfig, Waiting, WaitLimits
from fairlead.domain import PriorityClass, Task

ROOMY = QueueConfig(max_waiting=10_000, max_wait_s=WaitLimits(interactive=1e6, normal=1e6, batch=1e6), ageing_s=1e6)


def waiting(ticket: object, now_s: float = 0.0, tokens: int = 100, line: str = "x", **of_task: object) -> Waiting:
    return Waiting(ticket, Task("t", 1, **of_task), line, tokens, 100, now_s)  # type: ignore[arg-type]


def order(queue: AdmissionQueue, now_s: float) -> list[object]:
    """Let all in, and return their tickets in order."""
    turn = queue.round(now_s)
    tickets = []
    while (one := turn.next()) is not None:
        turn.admit(one)
        tickets.append(one.ticket)
    return tickets


def test_classes_then_deadlines_then_order_of_coming() -> None:
    queue = AdmissionQueue()
    queue.enter(waiting("batch", priority=8), 0.0)
    queue.enter(waiting("first"), 0.0)
    queue.enter(waiting("second"), 0.0)
    queue.enter(waiting("hurried", deadline_s=20.0), 0.0)
    queue.enter(waiting("person", priority=1), 0.0)
    assert order(queue, 1.0) == ["person", "hurried", "first", "second", "batch"]


def test_one_level_for_each_ageing_time() -> None:
    queue = AdmissionQueue(QueueConfig(ageing_s=10.0))
    queue.enter(waiting("old", priority=6), 0.0)
    assert order(AdmissionQueue(), 0.0) == []
    queue.enter(waiting("new", 19.9, priority=4), 19.9)
    assert queue.round(19.95).next().ticket == "new"  # type: ignore[union-attr]
    queue.enter(waiting("newest", 30.0, priority=4), 30.0)
    assert order(queue, 30.0) == ["old", "new", "newest"]


def test_unless_told_otherwise_a_task_is_as_urgent_as_interactive_ones_before_its_wait_is_over() -> None:
    queue = AdmissionQueue()
    queue.enter(waiting("batch", priority=9), 0.0)
    queue.enter(waiting("person", 269.0, priority=1), 269.0)
    assert queue.round(269.0).next().ticket == "person"  # type: ignore[union-attr]
    queue.enter(waiting("later", 291.0, priority=1), 291.0)
    queue.leave("person")
    assert queue.round(291.0).next().ticket == "batch"  # type: ignore[union-attr]


@given(
    came=st.lists(
        st.tuples(st.integers(0, 59), st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 4_000)),
        min_size=2,
        max_size=30,
    )
)
def test_waiting_changes_nothing_between_tenants_of_a_class(came: list[tuple[int, str, str, int]]) -> None:
    def tickets(ageing_s: float) -> list[object]:
        queue = AdmissionQueue(QueueConfig(ageing_s=ageing_s), {"a": 3.0})
        for n, (at, tenant, line, tokens) in enumerate(sorted(came)):
            queue.enter(waiting(n, float(at), tenant=tenant, line=line, tokens=tokens), float(at))
        return order(queue, 59.5)

    assert tickets(2.0) == tickets(1e6)


def test_a_class_is_as_urgent_as_the_one_whom_fair_share_lets_in_next() -> None:
    queue = AdmissionQueue(QueueConfig(ageing_s=10.0))
    queue.enter(waiting("a old", tenant="a"), 0.0)
    queue.enter(waiting("a older than b", 1.0, tenant="a"), 1.0)
    queue.enter(waiting("b young", 39.0, tenant="b"), 39.0)
    queue.enter(waiting("person", 40.0, tenant="c", priority=1), 40.0)
    assert not queue.may_barge(Task("t", 2, priority=1), "x", 41.0), "the class has risen"
    assert order(queue, 41.0) == ["a old", "person", "b young", "a older than b"]


def test_who_gave_its_room_to_others_is_let_wait_again_whatever_wait_there_is() -> None:
    queue = AdmissionQueue(QueueConfig(max_waiting=12))
    for n in range(10):
        queue.enter(waiting(n, priority=8, tokens=10_000), 0.0)
    for n in range(50):
        queue.served(10, n * 0.1)  # a hundred tokens in a second
    batch: dict[str, Any] = {"priority": 8, "deadline_s": 60.0}
    refusal = queue.enter(waiting("new", 5.0, **batch), 5.0).refusal
    assert refusal is not None
    assert refusal.reason == "deadline"
    assert queue.enter(waiting("back", 5.0, **batch), 5.0, is_back=True).entered
    queue.tighten(shed=frozenset((PriorityClass.BATCH,)))
    assert queue.enter(waiting("back too", 5.0, **batch), 5.0, is_back=True).entered
    evicted = queue.enter(waiting("last back", 5.0, **batch), 5.0, is_back=True).evicted
    assert [one.ticket for one in evicted] == [9], "the latest of those who never were let in"


def test_who_gave_its_room_to_others_is_refused_where_the_queue_is_full_of_more_urgent_work() -> None:
    queue = AdmissionQueue(QueueConfig(max_waiting=3))
    for n in range(3):
        queue.enter(waiting(n, priority=4), 0.0)
    refusal = queue.enter(waiting("back", priority=8), 0.0, is_back=True).refusal
    assert refusal is not None
    assert refusal.reason == "full"


def test_nobody_starves_beside_endless_urgent_work() -> None:
    queue = AdmissionQueue()
    queue.enter(waiting("batch", priority=8, tenant="b"), 0.0)
    queue.enter(waiting("normal", priority=4, tenant="n"), 0.0)
    admitted: dict[object, float] = {}
    now_s = 0.0
    while len(admitted) < 2 and now_s < 400.0:
        now_s += 0.5
        assert queue.overdue(now_s) == [], "nobody waits in vain"
        for n in range(2):  # two come where there is room for one
            queue.enter(waiting((now_s, n), now_s, priority=1, tenant="a"), now_s)
        turn = queue.round(now_s)
        one = turn.next()
        assert one is not None
        turn.admit(one)
        if isinstance(one.ticket, str):
            admitted[one.ticket] = now_s
        for ticket in [(now_s, n) for n in range(2)]:  # the excess goes away by itself
            queue.leave(ticket)
    assert admitted["normal"] <= 60.0
    assert admitted["batch"] <= 300.0


@given(
    weights=st.sampled_from([(1.0, 1.0), (3.0, 1.0), (1.0, 5.0)]),
    sizes=st.lists(st.tuples(st.integers(1, 4_000), st.integers(1, 4_000)), min_size=60, max_size=60),
    served=st.integers(2, 50),
)
def test_backlogged_tenants_get_their_share_in_tokens_plus_one_task(
    weights: tuple[float, float], sizes: list[tuple[int, int]], served: int
) -> None:
    queue = AdmissionQueue(ROOMY, {"a": weights[0], "b": weights[1]})
    for n, (size, other) in enumerate(sizes):
        queue.enter(waiting(("a", n), tokens=size, tenant="a"), 0.0)
        queue.enter(waiting(("b", n), tokens=other, tenant="b"), 0.0)
    got = {"a": 0, "b": 0}
    turn = queue.round(0.0)
    for _ in range(served):
        one = turn.next()
        assert one is not None
        turn.admit(one)
        assert one.task.tenant is not None
        got[one.task.tenant] += one.tokens
    largest = max(max(pair) for pair in sizes)
    whole = sum(got.values())
    for name, weight in zip("ab", weights, strict=True):
        assert got[name] <= whole * weight / sum(weights) + largest


def test_what_was_lent_is_not_owed() -> None:
    queue = AdmissionQueue(ROOMY)
    for n in range(100):
        queue.enter(waiting(("a", n), tenant="a"), 0.0)
    turn = queue.round(0.0)
    for _ in range(50):  # a has it all while b has nothing to do
        one = turn.next()
        assert one is not None
        turn.admit(one)
    for n in range(30):
        queue.enter(waiting(("b", n), tenant="b"), 1.0)
    tenants = [str(ticket[0]) for ticket in order(queue, 1.0)[:40] if isinstance(ticket, tuple)]
    assert abs(tenants.count("a") - tenants.count("b")) <= 1, "b gets its half now, and nothing for before"


def test_what_was_charged_and_not_used_comes_back() -> None:
    queue = AdmissionQueue(ROOMY)
    for n in range(40):
        queue.enter(waiting(("a", n), tenant="a"), 0.0)
        queue.enter(waiting(("b", n), tenant="b"), 0.0)
    got = {"a": 0, "b": 0}
    turn = queue.round(0.0)
    for _ in range(30):
        one = turn.next()
        assert one is not None
        turn.admit(one)
        tenant = str(one.task.tenant)
        got[tenant] += 1
        if tenant == "a":
            queue.settle("a", 100, 50)
    assert got["a"] == pytest.approx(20, abs=1), "its tasks take half of what was expected, so it gets twice as many"


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_two_tenants_keep_their_shares_on_a_busy_fleet(weights: tuple[float, float]) -> None:
    draw = Random(5)
    fleet = Fleet(8, ROOMY, shares={"a": weights[0], "b": weights[1]})
    small, large = (job_maker(draw, ((4, 1.0),), mean_s=1.0, tenant=name) for name in "ab")

    def again(job: Job) -> None:
        if job.tenant in ("a", "b") and fleet.time.now_s < 300.0:
            fleet.come((small if job.tenant == "a" else large)(fleet.time.now_s))

    fleet.on_end = again
    for _ in range(40):  # each tenant keeps forty tasks there, all the time
        fleet.come(small(0.0))
        fleet.come(large(0.0))
    fleet.time.run_until(300.0)
    part = fleet.tokens_of["a"] / (fleet.tokens_of["a"] + fleet.tokens_of["b"])
    assert part == pytest.approx(weights[0] / sum(weights), abs=0.02)
    assert fleet.busy_s > 0.97 * 8 * 300.0 - 8 * 10.0


def test_an_idle_share_is_lent() -> None:
    draw = Random(6)
    fleet = Fleet(4, ROOMY, shares={"absent": 9.0})
    make = job_maker(draw, ((4, 1.0),), mean_s=1.0, tenant="a")
    for _ in range(300):
        fleet.come(make(0.0))
    fleet.time.run()
    assert fleet.busy_s > 0.95 * 4 * max(job.ended_s for job in fleet.jobs if job.ended_s is not None)


def test_interactive_work_hardly_notices_endless_batch() -> None:
    def p95_s(*, with_batch: bool) -> float:
        draw = Random(7)
        fleet = Fleet(16)
        # 15 % of 16 slots
        poisson(fleet, draw, (0.0, 900.0), 1.2, job_maker(Random(8), ((1, 1.0),), tenant="people"))
        if with_batch:
            make = job_maker(Random(9), ((8, 1.0),), tenant="batch")

            def again(job: Job) -> None:
                if job.tenant == "batch" and fleet.time.now_s < 900.0:
                    fleet.come(make(fleet.time.now_s))

            fleet.on_end = again
            for _ in range(400):
                fleet.come(make(0.0))
        fleet.time.run_until(900.0)
        people = [job for job in fleet.jobs if job.tenant == "people"]
        assert not any(job.refusals for job in people)
        return quantile((job.wait_s for job in people if job.begun_s is not None), 0.95)

    # A slot comes free every 1/8 s; nobody is thrown out of one here.
    assert p95_s(with_batch=True) - p95_s(with_batch=False) < 0.5


def test_nobody_waits_longer_than_their_class_may() -> None:
    draw = Random(10)
    fleet = Fleet(4)
    poisson(fleet, draw, (0.0, 300.0), 8.0, job_maker(draw, ((1, 0.3), (4, 0.4), (8, 0.3))))
    fleet.time.run()
    limits = {1: 15.0, 4: 60.0, 8: 300.0}
    assert any(job.refusals for job in fleet.jobs)
    for job in fleet.jobs:
        if job.begun_s is not None:
            assert job.wait_s <= limits[job.priority] + 1e-9
        else:
            assert job.refusals[-1][0] - job.tries[-1] <= limits[job.priority] + 1e-9


def test_a_big_task_is_not_passed_by_for_ever() -> None:
    queue = AdmissionQueue(QueueConfig(ageing_s=1e6))
    queue.enter(waiting("big", line="big"), 0.0)
    passed = 0
    for second in range(100):
        now_s = float(second)
        queue.overdue(now_s)
        if "big" not in queue:
            break
        queue.enter(waiting(second, now_s, line="small"), now_s)
        turn = queue.round(now_s)
        while (one := turn.next()) is not None:
            if one.ticket == "big":
                turn.no_room(one)
            else:
                turn.admit(one)
                passed += 1
        newcomer = Task("t", 2)
        assert queue.may_barge(newcomer, "other", now_s) == (now_s < 30.0)
        assert queue.may_barge(Task("t", 2, priority=0), "other", now_s), "the more urgent still may"
    assert passed == 30, "after half its longest wait nobody less urgent slips by"


def test_only_lines_that_want_the_same_room_wait_for_a_big_task() -> None:
    queue = AdmissionQueue(competes=lambda line, other: str(line)[0] == str(other)[0])
    for second in range(50):
        now_s = float(second)
        if not second:
            queue.enter(waiting("big", line="a-big"), 0.0)
        queue.enter(waiting(("a", second), now_s, line="a-small"), now_s)
        queue.enter(waiting(("b", second), now_s, line="b-small"), now_s)
        turn = queue.round(now_s)
        while (one := turn.next()) is not None:
            if one.ticket == "big":
                turn.no_room(one)
            else:
                turn.admit(one)
    assert len(queue) == 1 + 20, "those of a have waited since, those of b were let in"


def test_a_tenant_that_fills_the_queue_does_not_shut_others_out() -> None:
    queue = AdmissionQueue(QueueConfig(max_waiting=10))
    for n in range(10):
        assert queue.enter(waiting(n, tenant="greedy"), 0.0).entered
    entry = queue.enter(waiting("modest", tenant="modest"), 0.0)
    assert [one.ticket for one in entry.evicted] == [9], "the latest of the one with the most"
    refusal = queue.enter(waiting("more", tenant="greedy"), 0.0).refusal
    assert refusal is not None
    assert refusal.reason == "full"


def test_who_found_no_room_for_long_does_not_shut_others_out_afterwards() -> None:
    queue = AdmissionQueue(ROOMY)
    for n in range(3_000):
        queue.enter(waiting(("a", n), tenant="a", line="small"), 0.0)
    for n in range(1_000):
        queue.enter(waiting(("b", n), tenant="b", line="big"), 0.0)
    turn = queue.round(0.0)
    for _ in range(2_001):  # a's line has room, b's has not
        one = turn.next()
        assert one is not None
        if one.line == "small":
            turn.admit(one)
        else:
            turn.no_room(one)
    tenants = [str(ticket[0]) for ticket in order(queue, 1.0)[:700] if isinstance(ticket, tuple)]
    first_a = tenants.index("a")
    assert 0 < first_a <= 32_768 / 100 + 2, "it catches up for a while"
    rest = tenants[first_a:]
    assert abs(rest.count("a") - rest.count("b")) <= 1, "and then they share"
