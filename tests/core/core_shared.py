"""Small fleets, tasks and dispatches for the tests of the decision core."""

import msgspec

from fairlead.domain import Model, Node, Outcome, Task
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, Refuse, Send, Wait
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.catalog import BUILT_IN
from fairlead.testing import VirtualFleet

STRATEGIES = tuple(BUILT_IN)
OK = Outcome(True, 0.1)
BAD = Outcome(False, 0.1)


def fleet_of(*nodes: str | Node, strategy: str = "round_robin", settings: FleetSettings | None = None) -> Fleet:
    fleet = Fleet(make_strategy(strategy), settings)
    for node in nodes:
        fleet.add(Model("m"), Node(node) if isinstance(node, str) else node, 0.0)
    return fleet


def virtual_fleet(strategy: str, *, seed: int = 0, exploration: float = 0.1, max_attempts: int = 3) -> VirtualFleet:
    made = make_strategy(strategy, RoutingSettings(exploration=exploration))
    return VirtualFleet(made, settings=FleetSettings(seed=seed), retries=RetryPolicy(max_attempts=max_attempts))


def task_of(i: int = 0, wishes: dict[str, object] | None = None, **more: object) -> Task:
    return msgspec.convert({"id": f"t{i}", "key": i, "model": "m"} | (wishes or {}) | more, Task)


def dispatch_of(fleet: Fleet, task: Task | None = None, policy: RetryPolicy | None = None) -> Dispatch:
    rules = policy or RetryPolicy()
    return Dispatch(fleet, task or task_of(), rules, RetryBudget(rules))


def place(decision: Decision) -> str:
    return decision.candidate.node.name


def sent_to(action: Action) -> str:
    assert isinstance(action, Send), action
    return place(action.decision)


def waits_until(action: Action) -> float | None:
    assert isinstance(action, Wait), action
    return action.until_s


def refusal(action: Action) -> Refuse:
    assert isinstance(action, Refuse), action
    return action


def spread(fleet: Fleet, n: int, now_s: float = 0.0) -> list[str]:
    """Where `n` tasks in a row go; each lease is given back at once, and nothing is learnt."""
    names = []
    for i in range(n):
        decision = fleet.decide(task_of(i), now_s)
        names.append(place(decision))
        fleet.settle(decision.lease, decision.candidate, None, now_s)
    return names


def trip(fleet: Fleet, node: str, now_s: float = 0.0, times: int = 5) -> None:
    candidate = next(iter(fleet.nodes[node].candidates.values()))
    for _ in range(times):
        fleet.learn(candidate, BAD, now_s)
