"""Models that nodes load and unload: those that have one come first, and nobody unloads a busy one."""

import pytest

from fairlead.domain import Capacity, Model, Node, Outcome, Task
from fairlead.domain.report import LoadedModel, NodeReport
from fairlead.engine.dispatch import Dispatch, Send, Wait
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.lobby import Lobby
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import NoCandidateError
from fairlead.routing import make_strategy

GB = 2**30
ONE_MODEL = Capacity(gpu_memory_bytes=10 * GB)


def fleet_of(*names: str, capacity: Capacity = ONE_MODEL) -> Fleet:
    fleet = Fleet(make_strategy("least_loaded"), FleetSettings())
    for name in names:
        for model in ("x", "y"):
            fleet.add(Model(model), Node(name, capacity=capacity), 0.0)
    return fleet


def tell(fleet: Fleet, node: str, *loaded: str, at_s: float = 0.0, capacity: Capacity = ONE_MODEL) -> None:
    """Let a node report that it holds these models, of six gigabytes each."""
    models = {name: LoadedModel(size_bytes=6 * GB, vram_bytes=6 * GB) for name in loaded}
    fleet.hear(NodeReport(node=node, sampled_at_s=at_s, kind="ollama", loaded=models), capacity)


def task(key: int, model: str) -> Task:
    return Task(f"t{key}", key, model=model)


def test_a_node_that_has_the_model_loaded_comes_first() -> None:
    fleet = fleet_of("a", "b", "c")
    for node, model in (("a", "y"), ("b", "x"), ("c", "y")):
        tell(fleet, node, model)
    for key in range(20):
        decision = fleet.decide(task(key, "x"), 0.0)
        assert decision.candidate.node.name == "b"
        assert not decision.is_cold
        fleet.settle(decision.lease, decision.candidate, None, 0.0)


def test_a_busy_model_is_never_unloaded_and_an_idle_one_is() -> None:
    fleet = fleet_of("a")
    tell(fleet, "a", "x")  # so its size is known
    tell(fleet, "a", "y", at_s=1.0)
    busy = fleet.decide(task(1, "y"), 0.0)
    with pytest.raises(NoCandidateError) as caught:
        fleet.decide(task(2, "x"), 0.0)
    assert caught.value.reasons == {"would unload a busy model": 1}
    fleet.settle(busy.lease, busy.candidate, None, 0.0)
    decision = fleet.decide(task(2, "x"), 0.0)
    assert decision.is_cold
    with pytest.raises(NoCandidateError):  # the one that is being loaded is busy now
        fleet.decide(task(3, "y"), 0.0)
    assert fleet.decide(task(4, "x"), 0.0).candidate.node.name == "a"


def test_one_that_finds_no_room_waits_for_the_busy_model_and_cannot_be_kept_out_for_ever() -> None:
    fleet = fleet_of("a", "b")
    tell(fleet, "b", "x")  # what one node says of a model's size counts for all
    fleet.remove("x", "b", 0.0)
    fleet.remove("y", "b", 0.0)
    tell(fleet, "a", "y")
    lobby: Lobby[str] = Lobby(fleet)
    policy = RetryPolicy()
    budget = RetryBudget(policy)

    def arrive(key: int, model: str, now_s: float) -> tuple[Dispatch, object]:
        dispatch = Dispatch(fleet, task(key, model), policy, budget)
        return dispatch, lobby.begin(f"t{key}", dispatch, now_s)

    under_way = [arrive(0, "y", 0.0)]
    late, action = arrive(1, "x", 0.0)
    assert isinstance(action, Wait)
    key, now_s = 2, 0.0
    while now_s < 60.0 and not isinstance(action, Send):  # somebody always wants the other model
        now_s += 1.0
        under_way.append(arrive(key, "y", now_s))
        key += 1
        dispatch, given = under_way.pop(0)
        if isinstance(given, Send):
            dispatch.complete(Outcome(True, 1.0), now_s)
            lobby.leave(dispatch.task.id, dispatch, now_s)
        for ticket, told in lobby.admit(now_s):
            if ticket == "t1":
                action = told
            else:
                under_way = [(one, told if one.task.id == ticket else before) for one, before in under_way]
    assert isinstance(action, Send), "it waited for a minute while others went in"
    assert late.queued_s < 60.0


def test_where_all_that_have_it_are_busier_than_their_peers_another_node_loads_it() -> None:
    fleet = fleet_of("a", "b")
    tell(fleet, "a", "x")
    tell(fleet, "b")
    nodes = [fleet.decide(task(key, "x"), 0.0).candidate.node.name for key in range(6)]
    assert nodes[:2] == ["a", "a"]
    assert "b" in nodes


def test_a_node_that_does_not_tell_is_taken_to_have_its_models() -> None:
    fleet = fleet_of("silent", "empty")
    tell(fleet, "empty")
    assert fleet.decide(task(1, "x"), 0.0).candidate.node.name == "silent"


def test_how_long_loading_takes_is_learnt() -> None:
    fleet = fleet_of("a")
    tell(fleet, "a")
    policy = RetryPolicy()
    dispatch = Dispatch(fleet, task(1, "x"), policy, RetryBudget(policy))
    dispatch.begin(0.0)
    dispatch.complete(Outcome(True, 20.0, first_token_s=12.0), 20.0)
    residency = fleet.nodes["a"].residency
    assert residency is not None
    assert residency.load_cost_s("x") == 12.0
