"""The queue under any order of events: everyone is in one place, counts are exact, bounds hold, the order is kept."""

import gc
import tracemalloc

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead.admission import AdmissionQueue, QueueConfig, Refusal, Round, Waiting, WaitLimits, Why
from fairlead.domain import PriorityClass, Task, class_of

LIMITS = WaitLimits(interactive=4.0, normal=16.0, batch=64.0)
AGEING_S = 5.0
CONFIG = QueueConfig(max_waiting=12, max_bytes=4_000, ageing_s=AGEING_S, max_wait_s=LIMITS)
TENANTS = (None, "a", "b")
LINES = ("x", "y", "z")


def limit_s(waiting: Waiting) -> float:
    return LIMITS.of(class_of(waiting.task.priority))


def due_s(waiting: Waiting) -> float:
    end_s = waiting.since_s + limit_s(waiting)
    deadline_s = waiting.task.deadline_s
    return end_s if deadline_s is None else min(end_s, deadline_s)


def level(waiting: Waiting, now_s: float) -> int:
    return max(0, waiting.task.priority - int((now_s - waiting.since_s) / AGEING_S))


class QueueMachine(RuleBasedStateMachine):
    """Enters, leaves, admits, expires, lets time pass; keeps plain books beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.queue = AdmissionQueue(CONFIG, {"a": 3.0})
        self.waiting: dict[int, Waiting] = {}
        self.numbered = 0
        self.stuck: dict[object, float] = {}
        """When those who were first in their line were told for the first time that there is no room."""
        self.expired = self.evicted = self.admitted = 0

    @rule(
        priority=st.integers(0, 9),
        tenant=st.sampled_from(TENANTS),
        line=st.sampled_from(LINES),
        tokens=st.integers(0, 3_000),
        size=st.sampled_from([0, 10, 500, 2_500, 5_000]),
        deadline_s=st.sampled_from([None, None, 0.5, 3.0, 30.0]),
        is_back=st.booleans(),
    )
    def enter(
        self,
        priority: int,
        tenant: str | None,
        line: str,
        tokens: int,
        size: int,
        deadline_s: float | None,
        is_back: bool,
    ) -> None:
        self.numbered += 1
        until_s = None if deadline_s is None else self.now_s + deadline_s
        task = Task("t", self.numbered, priority=priority, tenant=tenant, deadline_s=until_s)
        waiting = Waiting(self.numbered, task, line, tokens, size, self.now_s)
        entry = self.queue.enter(waiting, self.now_s, is_back=is_back)
        assert entry.entered == (entry.refusal is None)
        if not entry.entered:
            assert not entry.evicted
            self.check_refusal(waiting, entry.refusal, is_back=is_back)
            return
        for evicted in entry.evicted:
            assert self.waiting.pop(evicted.ticket) is evicted  # type: ignore[call-overload]
            assert evicted.task.priority >= priority
            left = [one for one in self.waiting.values() if one.task.priority > evicted.task.priority]
            assert evicted.task.priority == priority or not left, "somebody less urgent was left"
        self.evicted += len(entry.evicted)
        self.waiting[self.numbered] = waiting

    def check_refusal(self, waiting: Waiting, refusal: Refusal | None, *, is_back: bool) -> None:
        assert refusal is not None
        assert refusal.retry_after_s >= 0
        assert refusal.reason is Why.FULL or not is_back
        if refusal.reason is Why.FULL:
            last = waiting.task.priority - is_back
            urgent = [one for one in self.waiting.values() if one.task.priority <= last]
            held = sum(one.size_bytes for one in urgent)
            assert len(urgent) + 1 > CONFIG.max_waiting or held + waiting.size_bytes > CONFIG.max_bytes

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.integers(0, self.numbered + 1))
        assert self.queue.leave(ticket) is self.waiting.pop(ticket, None)

    @rule(by_s=st.sampled_from([0.0, 0.125, 1.0, 2.5, 7.0, 40.0]))
    def time_goes_by(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(tokens=st.integers(0, 3_000), tenant=st.sampled_from(TENANTS))
    def others_come_and_go(self, tokens: int, tenant: str | None) -> None:
        self.queue.charge(tenant, tokens, self.now_s)
        self.queue.served(tokens, self.now_s)
        self.queue.settle(tenant, tokens, tokens // 2)

    @rule()
    def overdue(self) -> None:
        due = {ticket for ticket, one in self.waiting.items() if due_s(one) <= self.now_s}
        next_s = self.queue.next_due_s
        assert next_s == min(map(due_s, self.waiting.values()), default=None)
        gone = self.queue.overdue(self.now_s)
        assert {waiting.ticket for waiting, _ in gone} == due
        for waiting, refusal in gone:
            is_late = waiting.task.deadline_s is not None and waiting.task.deadline_s <= self.now_s
            assert refusal.reason is (Why.DEADLINE if is_late else Why.TOO_LONG)
            del self.waiting[waiting.ticket]  # type: ignore[arg-type]
        self.expired += len(gone)

    @rule(
        open_lines=st.sets(st.sampled_from(LINES)),
        room=st.integers(0, 4),
        gone=st.booleans(),
    )
    def a_round(self, open_lines: set[str], room: int, gone: bool) -> None:
        self.overdue()
        turn = self.queue.round(self.now_s)
        closed: set[object] = set()
        while (waiting := turn.next()) is not None:
            assert turn.next() is waiting, "asking twice changes nothing"
            assert self.waiting[waiting.ticket] is waiting  # type: ignore[index]
            assert waiting.line not in closed
            if not self.is_anybody_impatient():
                self.check_first(waiting, closed)
            if gone:  # somebody hangs up in the middle of the round
                gone = False
                self.queue.leave(waiting.ticket)
                del self.waiting[waiting.ticket]  # type: ignore[arg-type]
            elif room and waiting.line in open_lines:
                room -= 1
                self.admit(turn, waiting)
            else:
                closed.add(waiting.line)
                self.stuck.setdefault(waiting.ticket, self.now_s)
                turn.no_room(waiting)
        still = {one.line for one in self.waiting.values()}
        assert still <= closed or self.is_anybody_impatient(), "the round ended with a line that was not asked"

    def check_first(self, waiting: Waiting, closed: set[object]) -> None:
        """Whose turn it is has nobody before it of its own, and no class has risen past its own as a whole."""
        urgency, task = level(waiting, self.now_s), waiting.task
        others = [one for one in self.waiting.values() if one.line not in closed]
        own = [one for one in others if (one.task.tenant, one.task.priority) == (task.tenant, task.priority)]
        assert due_s(waiting) == min(map(due_s, own)), "who is due first goes first"
        for base in {one.task.priority for one in others}:
            aged = [level(one, self.now_s) for one in others if one.task.priority == base]
            assert max(aged) >= urgency, "whoever of that class is first is more urgent"

    def is_anybody_impatient(self) -> bool:
        now_s = self.now_s
        return any(now_s - self.stuck.get(one.ticket, now_s) >= limit_s(one) / 2 for one in self.waiting.values())

    def admit(self, turn: Round, waiting: Waiting) -> None:
        turn.admit(waiting)
        del self.waiting[waiting.ticket]  # type: ignore[arg-type]
        self.admitted += 1
        with pytest.raises(ValueError, match="does not wait"):
            turn.admit(waiting)

    @invariant()
    def books_agree(self) -> None:
        queue = self.queue
        assert len(queue) == len(self.waiting) <= CONFIG.max_waiting
        assert all(ticket in queue for ticket in self.waiting)
        state = queue.state(self.now_s)
        for kind in PriorityClass:
            ours = [one for one in self.waiting.values() if class_of(one.task.priority) is kind]
            theirs = state.classes[kind]
            assert theirs.waiting == len(ours)
            assert theirs.tokens == sum(one.tokens for one in ours)
            assert theirs.size_bytes == sum(one.size_bytes for one in ours)
            assert theirs.oldest_wait_s == max((self.now_s - one.since_s for one in ours), default=0.0)
        assert sum(one.size_bytes for one in self.waiting.values()) <= CONFIG.max_bytes
        assert (state.evicted_total, state.expired_total, state.admitted_total) == (
            self.evicted,
            self.expired,
            self.admitted,
        )
        tenants = {one.task.tenant or "" for one in self.waiting.values()}
        assert {name for name, one in state.tenants.items() if one.waiting} == tenants
        if self.waiting:
            assert sum(one.share for one in state.tenants.values()) == pytest.approx(1.0)
        else:
            assert not state.tenants

    @invariant()
    def nobody_barges_past_their_own_line(self) -> None:
        for line in LINES:
            ours = [one for one in self.waiting.values() if one.line == line]
            aged: dict[int, list[int]] = {}
            for one in ours:
                aged.setdefault(one.task.priority, []).append(level(one, self.now_s))
            for priority in (0, 4, 9):
                is_risen = any(base <= priority or max(levels) <= priority for base, levels in aged.items())
                is_anyone = any(min(levels) <= priority for levels in aged.values())
                may = self.queue.may_barge(Task("t", 0, priority=priority), line, self.now_s)
                assert not (may and is_risen)
                assert may or is_anyone or self.is_anybody_impatient()


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestQueue = QueueMachine.TestCase


class LongQueueMachine(QueueMachine):
    """The same for longer."""


LongQueueMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=60, deadline=None, derandomize=True)
TestQueueForLong = pytest.mark.soak(LongQueueMachine.TestCase)


def test_a_ticket_waits_once() -> None:
    queue = AdmissionQueue()
    waiting = Waiting("one", Task("t", 1), "x", 10, 10, 0.0)
    assert queue.enter(waiting, 0.0).entered
    with pytest.raises(ValueError, match="waits already"):
        queue.enter(waiting, 0.0)


def test_shares_and_tightening_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="share of 'a' must be above 0"):
        AdmissionQueue(shares={"a": 0.0})
    with pytest.raises(ValueError, match="at most 1"):
        AdmissionQueue().tighten(share=1.5)


def test_nothing_is_left_when_nobody_waits() -> None:
    queue = AdmissionQueue(QueueConfig(max_waiting=300))

    def pass_through(n: int, now_s: float) -> None:
        for i in range(n):
            task = Task("t", i, tenant=f"tenant-{i}", priority=i % 10)
            queue.enter(Waiting(i, task, f"line-{i}", 100, 100, now_s), now_s)
            if i >= 200:
                queue.leave(i - 200)
        for i in range(n):
            queue.leave(i)
        assert not len(queue)
        assert queue.next_due_s is None

    pass_through(1_000, 0.0)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        pass_through(5_000, 1.0)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 80_000


def test_who_comes_and_goes_leaves_nothing_beside_one_who_stays() -> None:
    queue = AdmissionQueue()
    queue.enter(Waiting("stays", Task("t", 0, priority=9), "x", 1, 1, 0.0), 0.0)

    def pass_through(n: int) -> None:
        for i in range(n):
            task = Task("t", i, tenant=f"tenant-{i % 7}", priority=9, deadline_s=200.0 - i / n)
            queue.enter(Waiting(i, task, "x", 1, 1, 0.0), 0.0)
            queue.leave(i)

    pass_through(1_000)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        pass_through(5_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 80_000


def test_before_anything_has_ended_what_is_at_work_says_how_long_it_takes() -> None:
    queue = AdmissionQueue()
    for n in range(4):  # ends of an idle time: they say how large tasks are
        queue.served(100, float(n))
    waiting = Waiting("t", Task("t", 1), "line", 100, 0, 10.0)
    queue.enter(waiting, 10.0, 5.0, at_work_tokens=1000)
    assert queue.expected_wait_s(4, 100, 10.0) == pytest.approx(100 / (1000 / 5.0))
