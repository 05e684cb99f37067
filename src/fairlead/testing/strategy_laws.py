"""Laws that any routing strategy must keep; call `strategy_laws(MyStrategy)` from a test of your own.

`make` builds a fresh strategy: a class that takes `RoutingSettings`, or anything else that is called with them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import msgspec

from fairlead.allocation import Account
from fairlead.domain import Model, Node, Outcome, Task, TaskCategory
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.errors import NoCandidateError
from fairlead.load import PrefixAffinity
from fairlead.rng import Draw
from fairlead.routing import Candidate, Choice, Pool, RoutingSettings
from fairlead.routing.contract import StrategyFactory

MANY = 10_000
FEW_READS = 256
"""Candidates that one choice may look at among `MANY`, on average; the first choice in a pool is free."""


class CountedReads(Sequence[Candidate]):
    """Candidates that count how often one of them is looked at."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self.reads = 0

    def __len__(self) -> int:
        return len(self._candidates)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        found = self._candidates[index]
        self.reads += 1 if isinstance(found, Candidate) else len(found)
        return found

    def __iter__(self) -> Iterator[Candidate]:
        for candidate in self._candidates:
            self.reads += 1
            yield candidate


def candidates_of(n: int, *, slots: int | None = None) -> list[Candidate]:
    """Build `n` candidates of one model, each on a node of its own, some of them with evidence and load."""
    built = [Candidate(Model("m"), Node(f"n{i}", slots=slots), Account(slots), i, 3600.0) for i in range(n)]
    for i, one in enumerate(built):
        for j in range(i % 5):
            one.record(Outcome((i + j) % 3 != 0, 0.1 * (i % 7 + 1), TaskCategory.CODING), 0.0)
        one.account.in_flight = i % 4
    return built


def tasks_of(n: int) -> list[Task]:
    """Build `n` tasks of all categories, half of them in one of ten sessions."""
    kinds = list(TaskCategory)
    sessions = [f"s{i}" if i % 2 else None for i in range(20)]
    return [Task(f"t{i}", i, kinds[i % len(kinds)], "m", session=sessions[i % 20]) for i in range(n)]


def law_pick_is_in_the_pool(make: StrategyFactory) -> None:
    """Who is picked qualifies, and the record fits: one score, and one value of each factor, for each compared."""
    for n in (1, 2, 3, 64, 65, 300):
        strategy, pool = make(RoutingSettings()), Pool("m", candidates_of(n))
        for task in tasks_of(40):
            choice = strategy.choose(task, pool, float(task.key), Draw(1, task.key))
            _check_choice(choice, pool)


def law_rejected_is_never_chosen(make: StrategyFactory) -> None:
    """Nodes that drain, are full, have an open circuit or were tried are not picked, whatever speaks for them."""
    fleet = _fleet(make, 6)
    favourite = fleet.models["m"]["n0"]
    for _ in range(20):  # n0 has the best record by far and the session's favour
        fleet.learn(favourite, Outcome(True, 0.01, TaskCategory.CODING), 0.0)
    tasks = tasks_of(200)
    fleet.drain("n0")
    for _ in range(5):
        fleet.learn(fleet.models["m"]["n1"], Outcome(False, 0.01), 0.0)
    held = [fleet.ledger.take(fleet.nodes["n2"].account, None, 0.0, 600.0) for _ in range(4)]
    for task in tasks:
        decision = fleet.decide(task, 1.0, tried=("n3",))
        name = decision.candidate.node.name
        if name not in ("n4", "n5"):
            raise AssertionError(f"{fleet.strategy.name} chose {name}, which was ruled out")
        fleet.settle(decision.lease, decision.candidate, None, 1.0)
    if None in held:
        raise AssertionError("the ledger gave too little: this suite is broken, not the strategy")


def law_full_pool_is_refused(make: StrategyFactory) -> None:
    """With every slot taken nobody is picked, and each slot is filled before that."""
    fleet = _fleet(make, 3)
    decisions = [fleet.decide(task, 0.0) for task in tasks_of(12)]
    try:
        fleet.decide(Task("one-more", 99, model="m"), 0.0)
    except NoCandidateError:
        for decision in decisions:
            fleet.settle(decision.lease, decision.candidate, None, 0.0)
        return
    raise AssertionError(f"{fleet.strategy.name} put a thirteenth task on three nodes of four slots")


def law_same_state_same_choice(make: StrategyFactory) -> None:
    """The same seed and the same events give the same choices, and another strategy object changes nothing."""
    runs = [_choices(make, seed=7), _choices(make, seed=7)]
    if runs[0] != runs[1]:
        at = next(i for i, pair in enumerate(zip(*runs, strict=True)) if pair[0] != pair[1])
        raise AssertionError(f"two runs of the same events part at task {at}: {runs[0][at]}, then {runs[1][at]}")


def law_propensities_are_true(make: StrategyFactory) -> None:
    """Where a strategy says how likely its picks are, each comes as often as that, nothing else being changed."""
    strategy, candidates = make(RoutingSettings()), candidates_of(6)
    pool, task, n = Pool("m", candidates), tasks_of(1)[0], 2_000
    counts: dict[str, int] = {}
    said: dict[str, float] = {}
    for key in range(n):
        choice = strategy.choose(task, pool, 1.0, Draw(3, key))
        if choice.propensity is None:
            return
        name = choice.picked.node.name
        counts[name] = counts.get(name, 0) + 1
        said[name] = choice.propensity
    for name, chance in said.items():
        allowed = 5.0 * (n * chance * (1.0 - chance)) ** 0.5 + 1e-6 * n
        if abs(counts[name] - n * chance) > allowed:
            raise AssertionError(
                f"{strategy.name} gives {name} a chance of {chance:.4f}, but it came {counts[name]}/{n}"
            )


def law_forgetting_is_harmless(make: StrategyFactory) -> None:
    """`forget()` may come at any moment, also twice and before the first choice."""
    strategy, pool = make(RoutingSettings()), Pool("m", candidates_of(5))
    strategy.forget()
    for task in tasks_of(60):
        _check_choice(strategy.choose(task, pool, 1.0, Draw(1, task.key)), pool)
        if task.key % 7 == 0:
            strategy.forget()
            strategy.forget()


def law_cost_stays_flat(make: StrategyFactory) -> None:
    """Among 10,000 candidates a choice looks at a few hundred at most, whether or not the task has a session."""
    strategy, candidates = make(RoutingSettings()), CountedReads(candidates_of(MANY))
    pool = Pool("m", candidates)
    tasks = tasks_of(100)
    strategy.choose(tasks[0], pool, 1.0, Draw(1, 0))
    strategy.choose(tasks[1], pool, 1.0, Draw(1, 1))  # the first of a session, where maps may be made
    strategy.choose(tasks[1], pool, 1.0, Draw(1, 1))
    candidates.reads = 0
    for task in tasks:
        strategy.choose(task, pool, 1.0, Draw(1, task.key))
    if candidates.reads > FEW_READS * len(tasks):
        each = candidates.reads // len(tasks)
        raise AssertionError(f"{strategy.name} looks at {each} of {MANY} candidates for each choice")


def law_promises_can_be_kept(make: StrategyFactory) -> None:
    """With prompts that nodes may hold, picks are as sound as ever, and no more is promised than the prompt has."""
    for n in (1, 5, 300):
        strategy, pool = make(RoutingSettings(prefixes=PrefixAffinity())), Pool("m", candidates_of(n, slots=4))
        for task in tasks_of(60):
            talk = task.key % 6
            prefix = tuple(range(1_000 * talk, 1_000 * talk + 2 + task.key // 6))
            asked = msgspec.structs.replace(task, prefix=prefix, input_tokens=256 * len(prefix))
            choice = strategy.choose(asked, pool, float(task.key), Draw(1, task.key))
            _check_choice(choice, pool)
            if not 0 <= choice.promised_tokens <= asked.input_tokens:
                raise AssertionError(
                    f"{choice.promised_tokens} tokens are promised of a prompt of {asked.input_tokens}"
                )


STRATEGY_LAWS: tuple[Callable[[StrategyFactory], None], ...] = (
    law_pick_is_in_the_pool,
    law_rejected_is_never_chosen,
    law_full_pool_is_refused,
    law_same_state_same_choice,
    law_propensities_are_true,
    law_forgetting_is_harmless,
    law_cost_stays_flat,
    law_promises_can_be_kept,
)


def strategy_laws(make: StrategyFactory) -> None:
    """Hold strategies that `make` builds to every law. Raises AssertionError saying which is broken, and how."""
    for law in STRATEGY_LAWS:
        law(make)


# -- inside


def _fleet(make: StrategyFactory, n: int, seed: int = 1) -> Fleet:
    fleet = Fleet(make(RoutingSettings()), FleetSettings(seed=seed))
    for i in range(n):
        fleet.add(Model("m"), Node(f"n{i}", slots=4), 0.0)
    return fleet


def _choices(make: StrategyFactory, seed: int) -> list[str]:
    fleet = _fleet(make, 5, seed)
    names = []
    for task in tasks_of(200):
        decision = fleet.decide(task, float(task.key))
        names.append(decision.candidate.node.name)
        outcome = Outcome(task.key % 3 != 0, 0.1 * (task.key % 5 + 1), task.category)
        fleet.settle(decision.lease, decision.candidate, outcome, task.key + 0.5)
    return names


def _check_choice(choice: Choice, pool: Pool) -> None:
    if choice.picked not in pool.candidates:
        raise AssertionError(f"{choice.picked} was picked, which is not in the pool")
    if not set(map(id, choice.compared)) <= set(map(id, pool.candidates)):
        raise AssertionError("some of what was compared is not in the pool")
    sizes = {len(choice.compared), len(choice.scores)} | ({len(choice.standings)} if choice.factors else set())
    if len(sizes) != 1:
        raise AssertionError(
            f"{len(choice.compared)} compared, but other numbers of scores or factors: {sorted(sizes)}"
        )
    if not choice.why:
        raise AssertionError("the choice does not say why")
    propensity = choice.propensity
    if propensity is not None and not 0.0 < propensity <= 1.0 + 1e-9:
        raise AssertionError(f"the chance of what was picked is given as {propensity}: it must be above 0, at most 1")
