"""A fleet of equal slots with the queue before it, in virtual time: who came, waited, was refused and came again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random

from fairlead.admission import AdmissionQueue, QueueConfig, Refusal, Waiting
from fairlead.domain import Task
from fairlead.testing import VirtualTime

MEAN_TOKENS = 1_000


@dataclass(eq=False)
class Job:
    """One task, from its first coming to its end."""

    priority: int
    tenant: str | None
    tokens: int
    service_s: float
    came_s: float
    line: str = "model"
    deadline_s: float | None = None
    tries: list[float] = field(default_factory=list)
    refusals: list[tuple[float, Refusal]] = field(default_factory=list)
    """When it was told so, and what: at the door, or after it had waited."""
    evicted: int = 0
    begun_s: float | None = None
    ended_s: float | None = None

    @property
    def wait_s(self) -> float:
        """Return how long its last, successful try waited."""
        assert self.begun_s is not None
        return self.begun_s - self.tries[-1]


class Fleet:
    """Slots that serve one job each, and the queue; what the gateway does with it, without a gateway."""

    def __init__(
        self,
        slots: int = 16,
        config: QueueConfig | None = None,
        shares: Mapping[str, float] | None = None,
        *,
        comes_again: bool = False,
    ) -> None:
        self.time = VirtualTime()
        self.queue = AdmissionQueue(config, shares)
        self.free = self.slots = slots
        self.comes_again = comes_again
        self.jobs: list[Job] = []
        self.tokens_of: dict[str | None, int] = {}
        self.busy_s = 0.0
        self.on_begin: Callable[[Job], None] = lambda job: None
        self.on_end: Callable[[Job], None] = lambda job: None
        self._waker_s: float | None = None

    def come(self, job: Job) -> None:
        """A task is presented, for the first time or again."""
        now_s = self.time.now_s
        if not job.tries:
            self.jobs.append(job)
        job.tries.append(now_s)
        queue = self.queue
        task = Task("t", len(self.jobs), priority=job.priority, tenant=job.tenant, deadline_s=job.deadline_s)
        if self.free and queue.may_barge(task, job.line, now_s):
            queue.charge(job.tenant, job.tokens, now_s, job.priority)
            self._begin(job)
            return
        entry = queue.enter(Waiting(job, task, job.line, job.tokens, 1_000, now_s), now_s)
        for waiting in entry.evicted:
            loser = waiting.ticket
            assert isinstance(loser, Job)
            loser.evicted += 1
            self._refused(loser, queue.send_off(waiting, now_s))
        if entry.refusal is not None:
            self._refused(job, entry.refusal)
        elif self.free:
            self._admit()
        self._watch()

    def _refused(self, job: Job, refusal: Refusal) -> None:
        job.refusals.append((self.time.now_s, refusal))
        if self.comes_again:
            self.time.after(refusal.retry_after_s, lambda: self.come(job))

    def _begin(self, job: Job) -> None:
        self.free -= 1
        job.begun_s = self.time.now_s
        self.tokens_of[job.tenant] = self.tokens_of.get(job.tenant, 0) + job.tokens
        self.on_begin(job)
        self.time.after(job.service_s, lambda: self._end(job))

    def _end(self, job: Job) -> None:
        self.free += 1
        self.busy_s += job.service_s
        job.ended_s = self.time.now_s
        self.queue.served(job.tokens, self.time.now_s)
        self._admit()
        self.on_end(job)

    def _admit(self) -> None:
        self._overdue()
        turn = self.queue.round(self.time.now_s)
        while (waiting := turn.next()) is not None:
            if not self.free:
                turn.no_room(waiting)
                continue
            turn.admit(waiting)
            job = waiting.ticket
            assert isinstance(job, Job)
            self._begin(job)

    def _overdue(self) -> None:
        for waiting, refusal in self.queue.overdue(self.time.now_s):
            assert isinstance(waiting.ticket, Job)
            self._refused(waiting.ticket, refusal)

    def _watch(self) -> None:
        due_s = self.queue.next_due_s
        if due_s is not None and (self._waker_s is None or due_s < self._waker_s):
            self._waker_s = due_s
            self.time.at(max(due_s, self.time.now_s), self._wake)

    def _wake(self) -> None:
        self._waker_s = None
        self._overdue()
        self._watch()


def poisson(fleet: Fleet, draw: Random, span_s: tuple[float, float], rate: float, make: Callable[[float], Job]) -> None:
    """Let jobs come from the first to the second moment, so many in a second on average."""
    at_s = span_s[0] + draw.expovariate(rate)
    while at_s < span_s[1]:
        fleet.time.at(at_s, partial(fleet.come, make(at_s)))
        at_s += draw.expovariate(rate)


def lognormal(draw: Random, mean: float, sigma: float) -> float:
    """Draw with that mean."""
    return mean * draw.lognormvariate(-sigma * sigma / 2, sigma)


def job_maker(
    draw: Random, mix: Iterable[tuple[int, float]], mean_s: float = 2.0, tenant: str | None = None, sigma: float = 0.8
) -> Callable[[float], Job]:
    """Return what makes jobs: levels by their shares; tokens are lognormal, time follows them give or take a third."""
    levels, weights = zip(*mix, strict=True)

    def make(at_s: float) -> Job:
        tokens = max(1, round(lognormal(draw, MEAN_TOKENS, sigma)))
        service_s = mean_s * tokens / MEAN_TOKENS * lognormal(draw, 1.0, 0.35)
        return Job(draw.choices(levels, weights)[0], tenant, tokens, service_s, at_s)

    return make


def quantile(values: Iterable[float], q: float) -> float:
    """Return a quantile; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else 0.0
