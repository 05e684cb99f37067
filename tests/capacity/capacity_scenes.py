"""What is proved of capacity, as figures: the tests run it for a short time, the benchmark for a long one."""

from collections.abc import Sequence
from random import Random

import msgspec
from capacity_worlds import HOLDING_S, SLOTS, Traffic, fleet

from fairlead.admission.config import QueueConfig
from fairlead.allocation.needs import NeedsEstimator
from fairlead.balancing.balancer import LoadBalancer
from fairlead.domain import Needs, Task
from fairlead.domain.priority import LEVELS, NORMAL
from fairlead.testing import LoadRecord, TaskRecord, VirtualFleet

INTERACTIVE, BATCH = LEVELS["interactive"], LEVELS["batch"]
SETTLED_S = 20.0
"""After this long a fleet is in its usual state."""


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile; 0.0 of nothing."""
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)] if values else 0.0


def tokens_of(record: TaskRecord) -> int:
    """Return what a task took."""
    return record.task.input_tokens + record.answer_tokens


# -- mixed tasks over unequal nodes


class Balance(msgspec.Struct, frozen=True):
    """How even and how full the nodes were."""

    deviation: float
    load: float
    highest: float
    """The fullest that any node ever was."""
    waited_s: float
    """How long somebody waited."""
    tasks: int
    lost: int
    left: int
    """Leases and waiting tasks at the end."""


def balance(strategy: str, share: float, seconds: float, seed: int = 1, tokens_per_slot: int = 700) -> Balance:
    """Let `normal` tasks of all sizes come, at `share` of what the fleet can do."""
    virtual = fleet(strategy, tokens_per_slot=tokens_per_slot)
    traffic = Traffic(seed)
    rate = share * sum(SLOTS) / HOLDING_S
    for at_s in traffic.moments(lambda _: rate, rate, seconds):
        virtual.submit(at_s, *traffic.task())
    record = LoadRecord(virtual)
    virtual.time.run_until(SETTLED_S)
    record.begin()
    virtual.time.run_until(seconds)
    record.look()
    load = record.backlogged_load if record.backlogged_s else record.load
    deviation, waited_s = record.deviation, record.backlogged_s
    virtual.run(10_000_000)
    lost = sum(not one.succeeded and one.error is None for one in virtual.records)
    left = len(virtual.fleet.ledger) + len(virtual.lobby.queue)
    return Balance(deviation, load, record.highest, waited_s, len(virtual.records), lost, left)


# -- interactive work beside endless batch


class Beside(msgspec.Struct, frozen=True):
    """First tokens of interactive tasks without and with batch beside them."""

    alone_s: float
    beside_s: float
    ratio: float
    interactive: int
    lost: int
    interactive_share: float
    """Of the slots, over time; likewise the next."""
    batch_share: float


def beside(slots: tuple[int, ...], seconds: float, share: float = 0.15, seed: int = 3) -> Beside:
    """Let the same interactive tasks come twice: alone, and while as much batch as there is room for waits."""
    alone = _interactive(slots, seconds, share, seed, with_batch=False)[0]
    firsts, virtual = _interactive(slots, seconds, share, seed, with_batch=True)
    lost = sum(not one.succeeded for one in virtual.records if one.task.priority == INTERACTIVE)
    alone_s, beside_s = p95(alone), p95(firsts)
    shares = [_held(virtual, level, seconds) / sum(slots) for level in (INTERACTIVE, BATCH)]
    return Beside(alone_s, beside_s, beside_s / alone_s, len(firsts), lost, *shares)


def _interactive(
    slots: tuple[int, ...], seconds: float, share: float, seed: int, *, with_batch: bool
) -> tuple[list[float], VirtualFleet]:
    virtual = fleet(slots=slots, tokens_per_slot=4300)
    traffic = Traffic(seed)
    rate = share * sum(slots) / HOLDING_S
    records = [
        virtual.submit(at_s, *traffic.task(INTERACTIVE)) for at_s in traffic.moments(lambda _: rate, rate, seconds)
    ]
    if with_batch:
        keep_asking(virtual, Traffic(seed + 1), 2 * sum(slots), 0.0, seconds, priority=BATCH)
    virtual.run(10_000_000)
    firsts = [one.first_token_s for one in records if one.submitted_s > SETTLED_S and one.first_token_s is not None]
    return firsts, virtual


def _held(virtual: VirtualFleet, level: int, seconds: float) -> float:
    """Return how many slots tasks of a level held, averaged over time."""
    those = [one for one in virtual.records if one.task.priority == level and one.sent_s and one.ended_s is not None]
    return sum(min(one.ended_s or 0.0, seconds) - min(one.sent_s[-1], seconds) for one in those) / seconds


def keep_asking(
    virtual: VirtualFleet,
    traffic: Traffic,
    n: int,
    start_s: float,
    until_s: float,
    *,
    priority: int = NORMAL,
    tenant: str | None = None,
) -> None:
    """Let `n` tasks be under way from `start_s` until `until_s`: whoever is done or refused is followed by the next."""

    def ask(before: TaskRecord | None = None) -> None:
        told_s = None if before is None else before.retry_after_s
        at_s = max(virtual.time.now_s, start_s) + (told_s or 0.0)
        if at_s < until_s:
            task, answer_tokens = traffic.task(priority, tenant, is_limited=True)
            virtual.submit(at_s, task, answer_tokens, ask)

    for _ in range(n):
        ask()


# -- two tenants


class Shares(msgspec.Struct, frozen=True):
    """What two tenants, `a` and `b`, got of a fleet that both would have filled."""

    share: float
    """Of `a`, in tokens."""
    beyond: float
    """The most that either got beyond its share over any stretch of time, in tokens of the largest task."""
    longest_wait_s: float
    lent: float
    """Share of the slots that `a` held while `b` did not come."""
    back_s: float
    """How long after `b` came its tasks began to be let in."""


class _Foreseen(NeedsEstimator):
    """Knows how long answers will be: as long as the caller lets them be."""

    def estimate(self, task: Task, model_name: str, now_s: float) -> Needs:
        return self.sized(model_name, task.input_tokens, task.output_tokens)


def tenants(
    weight: float,
    seconds: float,
    seed: int = 5,
    slots: tuple[int, ...] = (8, 8, 16),
    queue: QueueConfig | None = None,
    *,
    is_foreseen: bool = True,
) -> Shares:
    """Let `a`, with so much weight, ask all the time, and `b`, with a weight of 1, from a third of the time on.

    `is_foreseen` says that the lengths of answers are known; else they are learnt, and some are longer than expected.
    """
    virtual = fleet(slots=slots, tokens_per_slot=None, shares={"a": weight}, queue=queue)
    if is_foreseen:
        virtual.fleet.allocator.needs = _Foreseen()
    came_s = seconds / 3
    keep_asking(virtual, Traffic(seed), 80, 0.0, seconds, tenant="a")
    keep_asking(virtual, Traffic(seed + 1, prompt=600), 80, came_s, seconds, tenant="b")
    record = LoadRecord(virtual)
    virtual.time.run_until(came_s)
    record.look()
    lent = record.load
    virtual.time.run_until(seconds)
    sent = sorted((one.sent_s[0], one.task.tenant == "a", tokens_of(one)) for one in virtual.records if one.sent_s)
    both = [(is_a, tokens) for at_s, is_a, tokens in sent if came_s + SETTLED_S / 2 < at_s]
    of_a = sum(tokens for is_a, tokens in both if is_a)
    back_s = min(at_s for at_s, is_a, _ in sent if not is_a) - came_s
    virtual.run(10_000_000)
    longest_s = max(one.queued_s for one in virtual.records)
    total = sum(tokens for _, tokens in both)
    return Shares(of_a / total, _beyond(both, weight / (weight + 1)), longest_s, lent, back_s)


def _beyond(sent: Sequence[tuple[bool, int]], share: float) -> float:
    """Return by how much the sum of one's tokens ever ran ahead of its share, or behind it, from any moment on."""
    excess = low = high = worst = 0.0
    for is_a, tokens in sent:
        excess += tokens * ((1.0 if is_a else 0.0) - share)
        low, high = min(low, excess), max(high, excess)
        worst = max(worst, excess - low, high - excess)
    return worst / max(tokens for _, tokens in sent)


# -- a spike


class Spike(msgspec.Struct, frozen=True):
    """What a tenfold spike did to those who came in it, and after it."""

    tasks: int
    interactive: int
    interactive_lost: int
    refused: int
    right: float
    """Share of those refused whose `Retry-After` was right within 20 % or 1 s: so long after it they were let in."""
    admitted: float
    """Share of those refused who were let in when they came again at the time they were told."""
    before_s: float
    """First token, 95th percentile: of all before the spike; in the 30 s after those in which to recover; and of
    interactive tasks before, within, and from the end of these 30 s on."""
    after_s: float
    urgent_before_s: float
    urgent_within_s: float
    urgent_after_s: float


SPIKE_S = 60.0
RECOVERY_S = 30.0


def spike(slots: tuple[int, ...], before_s: float, seconds: float, seed: int = 7, base: float = 0.5) -> Spike:
    """Let tasks come at `base` of capacity, a tenth of them interactive, and ten times as many for a minute."""
    virtual = fleet(slots=slots, balancer=LoadBalancer())
    traffic, dice = Traffic(seed), Random(seed)
    rate, end_s = base * sum(slots) / HOLDING_S, before_s + SPIKE_S
    told: list[tuple[TaskRecord, float]] = []

    def come(at_s: float, task: Task, answer_tokens: int, told_s: float | None = None) -> TaskRecord:
        def again(record: TaskRecord) -> None:
            after_s = record.retry_after_s
            if after_s is not None:
                after = msgspec.structs.replace(task, id=f"{task.id}+")
                come(virtual.time.now_s + after_s, after, answer_tokens, after_s)

        record = virtual.submit(at_s, task, answer_tokens, again)
        if told_s is not None:
            told.append((record, told_s))
        return record

    def pace(at_s: float) -> float:
        return rate * (10.0 if before_s <= at_s < end_s else 1.0)

    came = [
        come(at_s, *traffic.task(INTERACTIVE if dice.random() < 0.1 else NORMAL))
        for at_s in traffic.moments(pace, 10.0 * rate, seconds)
    ]
    virtual.run(20_000_000)
    urgent = [one for one in came if one.task.priority == INTERACTIVE]
    let_in = [(one, told_s) for one, told_s in told if one.error is None]
    right = sum(one.queued_s <= max(0.2 * told_s, 1.0) for one, told_s in let_in)
    after_s = end_s + RECOVERY_S
    return Spike(
        len(came),
        len(urgent),
        sum(not one.succeeded for one in urgent),
        len(told),
        right / max(len(told), 1),
        len(let_in) / max(len(told), 1),
        _firsts(came, SETTLED_S, before_s),
        _firsts(came, after_s, after_s + RECOVERY_S),
        _firsts(urgent, SETTLED_S, before_s),
        _firsts(urgent, before_s, end_s),
        _firsts(urgent, after_s, seconds),
    )


def _firsts(records: Sequence[TaskRecord], from_s: float, until_s: float) -> float:
    those = [one for one in records if from_s <= one.submitted_s < until_s]
    return p95([one.first_token_s for one in those if one.first_token_s is not None])
