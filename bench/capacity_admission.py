"""Microseconds per operation of the admission queue, stand-alone: CPU time, medians over rounds.

`python bench/capacity_admission.py` prints a table. Tasks and tickets are made outside the clock.
"""

import gc
import time
from collections.abc import Callable
from statistics import median

from fairlead.admission import AdmissionQueue, QueueConfig, Waiting
from fairlead.domain import Task

CALLS = 2_000
ROUNDS = 9
NOW_S = 100.0


def one(ticket: int, *, tenants: int = 1, lines: int = 1, priority: int = 4) -> Waiting:
    """Return one who wants to wait."""
    task = Task("t", ticket, priority=priority, tenant=f"tenant-{ticket % tenants}")
    return Waiting(ticket, task, f"line-{ticket % lines}", 500, 2_000, NOW_S)


def filled(waiting: int, *, tenants: int = 1, lines: int = 1) -> AdmissionQueue:
    """Return a queue in which so many wait."""
    queue = AdmissionQueue(QueueConfig(max_waiting=10**6, max_bytes=10**12))
    for ticket in range(waiting):
        assert queue.enter(one(ticket, tenants=tenants, lines=lines), NOW_S).entered
    return queue


def timed_us(act: Callable[[], None], calls: int = CALLS) -> float:
    """Return microseconds of CPU for each of the calls that `act` makes."""
    samples = []
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        began_s = time.thread_time()
        act()
        samples.append((time.thread_time() - began_s) / calls * 1e6)
        gc.enable()
    return median(samples)


def enter_and_leave(waiting: int) -> float:
    """One comes and goes while `waiting` others stay."""
    queue = filled(waiting)
    newcomers = [one(10**6 + n) for n in range(CALLS)]

    def act() -> None:
        for newcomer in newcomers:
            queue.enter(newcomer, NOW_S)
            queue.leave(newcomer.ticket)

    return timed_us(act)


def round_that_admits(waiting: int, *, tenants: int = 1, lines: int = 1) -> float:
    """A round that lets one in and finds no room for the next; somebody new comes each time, outside the clock."""
    samples = []
    queue = filled(waiting, tenants=tenants, lines=lines)
    for ticket in range(10**6, 10**6 + CALLS):
        began_s = time.thread_time()
        turn = queue.round(NOW_S)
        first = turn.next()
        assert first is not None
        turn.admit(first)
        while (following := turn.next()) is not None:
            turn.no_room(following)
        samples.append((time.thread_time() - began_s) * 1e6)
        queue.enter(one(ticket, tenants=tenants, lines=lines), NOW_S)
    return median(samples)


def round_in_vain(waiting: int, *, tenants: int = 1, lines: int = 1) -> float:
    """A round in which nobody finds room."""
    queue = filled(waiting, tenants=tenants, lines=lines)

    def act() -> None:
        for _ in range(CALLS // 10):
            turn = queue.round(NOW_S)
            while (waiting := turn.next()) is not None:
                turn.no_room(waiting)

    return timed_us(act, CALLS // 10)


def barge(waiting: int) -> float:
    """Whether a newcomer may try at once."""
    queue, task = filled(waiting), Task("t", 1)

    def act() -> None:
        may = queue.may_barge
        for _ in range(CALLS):
            may(task, "line-0", NOW_S)

    return timed_us(act)


def charge_and_serve() -> float:
    """What a task costs that is let in at once and ends."""
    queue = AdmissionQueue()

    def act() -> None:
        for n in range(CALLS):
            queue.charge("one", 500, NOW_S + n * 0.01)
            queue.served(500, NOW_S + n * 0.01)

    return timed_us(act)


def refuse() -> float:
    """A refusal with its appointment, where the queue is full."""
    queue = AdmissionQueue(QueueConfig(max_waiting=0))
    newcomers = [one(n) for n in range(CALLS)]

    def act() -> None:
        for newcomer in newcomers:
            queue.enter(newcomer, NOW_S)

    return timed_us(act)


def measure() -> dict[str, float]:
    """Return microseconds by what is done."""
    return {
        "enter and leave, nobody waits": enter_and_leave(0),
        "enter and leave, 1,000 wait": enter_and_leave(1_000),
        "enter and leave, 100,000 wait": enter_and_leave(100_000),
        "round that admits one of 1,000 in one line": round_that_admits(1_000),
        "the same, 20 tenants": round_that_admits(1_000, tenants=20),
        "the same, 10 lines, 20 tenants": round_that_admits(1_000, tenants=20, lines=10),
        "round without room, 1,000 in one line": round_in_vain(1_000),
        "round without room, 1,000 in 10 lines": round_in_vain(1_000, lines=10),
        "may_barge, nobody waits": barge(0),
        "may_barge, 1,000 wait": barge(1_000),
        "charge and served, nobody waits": charge_and_serve(),
        "refusal with its appointment": refuse(),
    }


if __name__ == "__main__":
    for name, us in measure().items():
        print(f"{name:45} {us:8.2f} us")
