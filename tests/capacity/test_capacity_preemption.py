"""Batch work that has not begun to answer gives way once; what streams never does, and all is finished in the end."""

import pytest
from capacity_worlds import fleet

from fairlead.domain import Task
from fairlead.domain.priority import LEVELS
from fairlead.testing import ServiceTimes, TaskRecord, VirtualFleet

pytestmark = pytest.mark.heavy

SLOW = ServiceTimes(prefill_tokens_per_s=400.0, step_s=((1, 0.05),))


def crowd(virtual: VirtualFleet, kind: str, n: int, at_s: float, tokens: int = 400) -> list[TaskRecord]:
    begin = len(virtual.records)
    tasks = (
        Task(f"t{i}", i, model="m", input_tokens=tokens, output_tokens=40, priority=LEVELS[kind])
        for i in range(begin, begin + n)
    )
    return [virtual.submit(at_s, task) for task in tasks]


def test_batch_that_has_not_begun_gives_way_and_is_finished_later() -> None:
    virtual = fleet(slots=(5,), times=SLOW, tokens_per_slot=None)
    batch = crowd(virtual, "batch", 4, 0.0)
    first = crowd(virtual, "interactive", 1, 0.1)
    urgent = crowd(virtual, "interactive", 2, 0.2)
    virtual.run()
    assert [record.gave_way for record in batch] == [0, 0, 1, 1], "the newest have the least to lose"
    assert all(record.queued_s == 0.0 for record in first + urgent)
    assert all(record.succeeded for record in virtual.records)
    assert [record.attempts for record in batch] == [1, 1, 2, 2]


def test_nobody_gives_way_twice() -> None:
    virtual = fleet(slots=(1,), times=SLOW)
    (batch,) = crowd(virtual, "batch", 1, 0.0)
    crowd(virtual, "interactive", 1, 0.1)
    virtual.time.run_until(3.0)
    assert (batch.gave_way, batch.ended_s) == (1, None)
    while batch.attempts < 2:
        virtual.time.run_until(virtual.time.now_s + 0.1)
    (late,) = crowd(virtual, "interactive", 1, virtual.time.now_s + 0.1)
    virtual.run()
    assert (batch.gave_way, batch.succeeded) == (1, True)
    assert late.queued_s > 0.0


def test_what_streams_is_let_alone() -> None:
    virtual = fleet(slots=(1,), times=SLOW)
    (batch,) = crowd(virtual, "batch", 1, 0.0)
    virtual.time.run_until(1.5)
    assert batch.began_s is not None
    (urgent,) = crowd(virtual, "interactive", 1, 1.6)
    virtual.run()
    assert (batch.gave_way, batch.attempts) == (0, 1)
    assert batch.ended_s is not None
    assert urgent.sent_s == [batch.ended_s]


def test_what_is_not_urgent_makes_nobody_give_way() -> None:
    virtual = fleet(slots=(1,), times=SLOW)
    (batch, other) = crowd(virtual, "batch", 2, 0.0)
    virtual.run()
    assert (batch.gave_way, other.gave_way) == (0, 0)
    assert batch.succeeded
    assert other.succeeded
