"""What recovery does about trouble, told the time: nobody is left without a node, room is made, and all is recorded."""

from types import SimpleNamespace
from typing import Any

import pytest

from fairlead.domain import Model, Node, Outcome, RoutingStrategy, Task, TaskCategory
from fairlead.domain.health import Incident, Remedy, SystemHealth, Verdict
from fairlead.domain.rescue import Rescue
from fairlead.engine.directory import FleetSettings
from fairlead.engine.events import DegradationChanged, Event, LeasesExpired, NodeDraining, Recovered
from fairlead.engine.fleet import Fleet
from fairlead.engine.retry_budget import RetryPolicy
from fairlead.errors import NoCandidateError, NoModelError, OverloadedError
from fairlead.health import Circuit
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.orchestrator.failing_over import Silence, Work, is_stuck, may_move, silence_of
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.protocols import ErrorRecovery, HealthAwareRouting
from fairlead.routing import make_strategy
from fairlead.testing import ManualClock

RARE = ("n0", "n1")
"""Of ten nodes, those that serve the model `rare`."""
MISSION = (
    (HealthAwareRouting, ("check_system_health", "adjust_for_degradation", "trigger_failover")),
    (ErrorRecovery, ("handle_routing_failure", "mitigate_resource_exhaustion", "restore_balance")),
)


class Ten:
    """Ten nodes with one model, two of them with another, and an orchestrator that no event loop drives."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock(100.0)
        self.fleet = Fleet(make_strategy(RoutingStrategy.RANDOM), FleetSettings(**settings))
        self.orchestrator = ModelOrchestrator(fleet=self.fleet)
        self.orchestrator.clock = self.clock
        self.told: list[Event] = []
        self.orchestrator.bus.subscribe(Event, self.told.append)
        for number in range(10):
            node = Node(f"n{number}", slots=4, failure_domain=f"rack-{number % 2}")
            self.fleet.add(Model("usual"), node, self.clock())
            if node.name in RARE:
                self.fleet.add(Model("rare"), node, self.clock())
        self.look()
        self.told.clear()
        self.tasks = 0

    @property
    def recovery(self) -> Any:
        return self.orchestrator.recovery

    def look(self, after_s: float = 1.0) -> None:
        self.clock.advance(after_s)
        self.orchestrator.recovery.look(self.clock())
        self.publish()

    def publish(self) -> None:
        self.orchestrator._publish()
        self.orchestrator._publish()

    def task(self, model: str = "rare") -> Task:
        self.tasks += 1
        return Task(f"t-{self.tasks}", self.tasks, TaskCategory.UNKNOWN, model)

    def outcomes(self, node: str, success: bool, count: int = 30) -> None:
        for _ in range(count):
            self.fleet.health.monitor.record(node, success, self.clock())

    def eject(self, *names: str) -> None:
        """Let some nodes fail much more than the others."""
        for name in self.fleet.nodes:
            self.outcomes(name, name not in names)

    def do_not_answer(self, *names: str) -> None:
        for name in names:
            for _ in range(3):
                self.fleet.checked(name, False, self.clock(), "nothing listens there")

    def open_circuit(self, name: str) -> None:
        candidate = self.fleet.models["usual"][name]
        for _ in range(5):
            self.fleet.learn(candidate, Outcome(False, 0.1, TaskCategory.UNKNOWN), self.clock())

    def work(
        self,
        model: str,
        node: str,
        *,
        asked: str | None = None,
        repeats: int = 0,
        rival: object = None,
        has_begun: bool = False,
        rescuer: Any = None,
        rescue: Rescue | None = None,
    ) -> Work:
        """Return a task that a node is at work on."""
        exchange: Any = SimpleNamespace(
            task=self.task(asked or model),
            dispatch=SimpleNamespace(repeats=repeats),
            rival=rival,
            has_begun=has_begun,
            rescuer=rescuer,
            wishes=SimpleNamespace(rescue=rescue),
        )
        attempt: Any = SimpleNamespace(decision=SimpleNamespace(candidate=self.fleet.models[model][node]))
        return Work(exchange, attempt)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.told if type(event) is kind]


def test_it_is_what_the_protocols_ask_for() -> None:
    for protocol, names in MISSION:
        assert {name for name in vars(protocol) if not name.startswith("_")} == set(names)
        assert all(callable(getattr(ModelOrchestrator().recovery, name)) for name in names)


class TestTwoOfTenNodes:
    @pytest.mark.parametrize("how", ["ejected", "unreachable", "one of each"])
    def test_a_model_whose_only_nodes_are_held_unwell_is_still_served(self, how: str) -> None:
        it = Ten()
        if how == "ejected":
            it.eject(*RARE)
        elif how == "unreachable":
            it.do_not_answer(*RARE)
        else:
            it.eject(RARE[0])
            it.do_not_answer(RARE[1])
        for _ in range(5):
            it.look()
            decision = it.fleet.decide(it.task(), it.clock())
            assert decision.candidate.node.name in RARE
            it.fleet.settle(decision.lease, decision.candidate, None, it.clock())
        assert it.recovery.check_system_health().of(Verdict.DOWN) == ()
        assert len(it.of(Recovered)) <= len(RARE), "it is done once"

    def test_left_to_itself_the_fleet_would_refuse(self) -> None:
        it = Ten()
        it.eject(*RARE)
        it.clock.advance(1.0)
        it.fleet.review_health(it.clock())
        task = it.task()
        with pytest.raises(NoCandidateError, match="fails more than its peers") as refused:
            it.fleet.decide(task, it.clock())
        action = it.recovery.handle_routing_failure(task, refused.value)
        assert (action.remedy, action.subject) == (Remedy.RETRY, task.id)
        it.fleet.decide(task, it.clock())
        it.publish()
        assert [(one.remedy, one.subject) for one in it.of(Recovered)] == [
            ("restore", "n0"), ("restore", "n1"), ("retry", task.id),
        ]  # fmt: skip

    def test_the_last_one_that_is_well_may_go_between_two_looks(self) -> None:
        it = Ten()
        it.eject(RARE[0])
        it.look()
        assert it.fleet.nodes[RARE[0]].is_ejected
        it.open_circuit(RARE[1])
        it.publish()
        assert it.fleet.decide(it.task(), it.clock()).candidate.node.name == RARE[0]
        assert [(one.remedy, one.subject) for one in it.of(Recovered)][-1] == ("restore", RARE[0])
        assert it.fleet.nodes[RARE[1]].breaker.state is Circuit.OPEN, "a circuit is judged by probes alone"

    def test_nobody_is_let_back_while_another_is_left(self) -> None:
        it = Ten()
        it.eject(RARE[0])
        for _ in range(3):
            it.look()
            assert it.fleet.decide(it.task(), it.clock()).candidate.node.name == RARE[1]
        assert [(one.remedy, one.subject) for one in it.of(Recovered)] == [("eject", RARE[0])]


class TestRoutingFailure:
    def test_it_is_refused_with_the_reason_and_without_the_name_that_was_asked_for(self) -> None:
        it = Ten()
        reasons = {"circuit open": 2, "lacks a capability": 1}
        for error, why in (
            (NoCandidateError("secret words", reasons), "2 x circuit open, 1 x lacks a capability"),
            (NoModelError("no model 'secret words'"), "nothing by that name is served"),
            (OverloadedError("secret words", "full", 3.0), "there is no room for it (full)"),
        ):
            task = it.task("secret words")
            action = it.recovery.handle_routing_failure(task, error)
            assert (action.remedy, action.subject, action.why) == (Remedy.REFUSE, task.id, why)
        it.publish()
        assert len(it.of(Recovered)) == 3

    def test_where_others_are_in_the_way_it_waits_and_dead_leases_are_taken_back(self) -> None:
        it = Ten(lease_ttl_s=5.0)
        held = [it.fleet.decide(it.task(), it.clock()) for _ in range(8)]
        task = it.task()
        with pytest.raises(NoCandidateError) as refused:
            it.fleet.decide(task, it.clock())
        it.clock.advance(6.0)
        action = it.recovery.handle_routing_failure(task, refused.value)
        assert action.remedy is Remedy.WAIT
        it.fleet.decide(task, it.clock())
        assert len(it.fleet.ledger) == 1
        assert not any(one.lease.is_open for one in held)


class TestFailover:
    def test_those_that_share_least_with_the_node_come_first(self) -> None:
        plan = (it := Ten()).recovery.trigger_failover(_incident("n4", Verdict.DOWN))
        assert plan.targets == {"usual": ("n1", "n3", "n5", "n7", "n9", "n0", "n2", "n6", "n8")}
        it.publish()
        assert [one.node for one in it.of(NodeDraining)] == ["n4"], "nothing here knew of it"
        assert it.recovery.trigger_failover(_incident("n4", Verdict.DRAINED)) is plan
        it.publish()
        assert len(it.of(Recovered)) == 1

    def test_a_node_that_goes_down_while_it_is_drained_is_left_once_more(self) -> None:
        it = Ten()
        it.orchestrator.change_node("n4", "drain")
        it.look()
        it.open_circuit("n4")
        for _ in range(3):
            it.look()
        assert [(one.remedy, one.why.split(":")[0]) for one in it.of(Recovered)] == [
            ("fail_over", "drained"), ("fail_over", "down"),
        ]  # fmt: skip

    def test_nobody_is_left_for_being_slow_or_for_not_being_there(self) -> None:
        it = Ten()
        with pytest.raises(ValueError, match="no node 'n99'"):
            it.recovery.trigger_failover(_incident("n99", Verdict.DOWN))
        with pytest.raises(ValueError, match="ranked lower, not left"):
            it.recovery.trigger_failover(_incident("n4", Verdict.DEGRADED))
        it.publish()
        assert not it.told

    def test_a_dead_node_is_no_holder_of_prompts_any_more(self) -> None:
        it = Ten()
        prefixes = it.orchestrator.prefixes = PrefixAffinity()
        for name in ("n4", "n5"):
            prefixes.sent((1, 2, 3), 100, it.fleet.models["usual"][name], 0, it.clock())
        it.open_circuit("n5")
        it.do_not_answer("n4")
        it.look()
        assert set(prefixes.index.held((1, 2, 3))) == {("usual", "n5")}, "one that refuses keeps what it holds"

    def test_a_node_that_comes_back_is_told_once_and_one_on_probation_is_not_back(self) -> None:
        it = Ten()
        it.open_circuit("n4")
        it.look()
        it.look(31.0)
        it.fleet.tick(it.clock())
        it.look()
        assert it.fleet.nodes["n4"].breaker.state is Circuit.HALF_OPEN
        assert [one.remedy for one in it.of(Recovered)] == ["fail_over"]
        it.fleet.force_recovery("n4", it.clock())
        it.look()
        it.look()
        assert [(one.remedy, one.subject) for one in it.of(Recovered)] == [("fail_over", "n4"), ("restore", "n4")]


class TestWhatIsNotWaitedFor:
    def test_a_circuit_that_opened_on_silence_tells_since_when_nothing_comes(self) -> None:
        it = Ten()
        state, before, after = it.fleet.nodes["n4"], _work(sent_s=79.0), _work(sent_s=80.0)
        assert silence_of(state, is_dead=False, silent_since_s=80.0) == Silence(), "it may have been for once"
        it.open_circuit("n4")
        silence = silence_of(state, is_dead=False, silent_since_s=80.0)
        assert (is_stuck(before, silence, 110.0), is_stuck(after, silence, 110.0)) == (False, True)
        refuses = silence_of(state, is_dead=False, silent_since_s=None)
        assert not is_stuck(after, refuses, 110.0), "it may yet be answered"

    @pytest.mark.parametrize(
        ("fields", "is_lost"),
        [
            ({}, True),
            ({"stream": False}, True),
            ({"stream": False, "status": 200}, False),
            ({"status": 200}, True),
            ({"has_begun": True, "last_s": 98.9}, True),
            ({"has_begun": True, "last_s": 99.1}, False),
            ({"has_begun": True, "last_s": 90.0, "is_pressed": True}, False),
            ({"has_begun": True, "last_s": 90.0, "finished": True}, False),
        ],
    )
    def test_of_a_dead_node_only_what_flows_is_waited_for(self, fields: dict[str, Any], is_lost: bool) -> None:
        dead = Silence(is_dead=True, since_s=float("-inf"))
        assert is_stuck(_work(**fields), dead, 100.0) is is_lost
        assert not is_stuck(_work(**fields), Silence(), 100.0), "what is drained may finish"


class TestWhoMayMove:
    def test_it_takes_another_node_that_stands_ready(self) -> None:
        it = Ten()
        assert may_move(it.orchestrator, it.work("rare", RARE[0]))
        it.orchestrator.change_node(RARE[1], "drain")
        assert not may_move(it.orchestrator, it.work("rare", RARE[0]))
        assert may_move(it.orchestrator, it.work("rare", RARE[0], rival=object())), "the other of the two goes on"

    def test_who_would_be_refused_for_having_been_moved_too_often_stays(self) -> None:
        it = Ten()
        it.orchestrator.configure(retries=RetryPolicy(max_attempts=3))
        assert [may_move(it.orchestrator, it.work("usual", "n4", repeats=repeats)) for repeats in range(3)] == [
            True, True, False,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("rescue", "asked", "is_moved"),
        [(Rescue.SAME_MODEL, "auto", False), (Rescue.ANY_MODEL, "auto", True), (Rescue.ANY_MODEL, "rare", False)],
    )
    def test_an_answer_that_was_begun_goes_to_its_model_or_where_any_may_do(
        self, rescue: Rescue, asked: str, is_moved: bool
    ) -> None:
        it = Ten()
        it.orchestrator.change_node(RARE[1], "drain")
        kept = SimpleNamespace(kept=SimpleNamespace(why_not=None))
        for wish, default in ((rescue, Rescue.SAME_MODEL), (None, rescue)):
            it.orchestrator.configure(rescue=default)
            work = it.work("rare", RARE[0], asked=asked, has_begun=True, rescuer=kept, rescue=wish)
            assert may_move(it.orchestrator, work) is is_moved

    @pytest.mark.parametrize("rescuer", [None, SimpleNamespace(kept=SimpleNamespace(why_not="it is too long"))])
    def test_an_answer_that_nobody_could_finish_stays(self, rescuer: Any) -> None:
        it = Ten()
        assert not may_move(it.orchestrator, it.work("usual", "n4", has_begun=True, rescuer=rescuer))


class TestPressure:
    def test_the_ladder_is_climbed_here_and_told(self) -> None:
        it = Ten()
        up = it.recovery.adjust_for_degradation(_health(0.85, 200.0))
        assert (up.remedy, up.subject) == (Remedy.DEGRADE, "cheaper_model")
        assert it.orchestrator.degrading.ladder.given_up == ("hedging", "exploration", "cheaper_model")
        assert it.recovery.adjust_for_degradation(_health(0.85, 201.0)).remedy is Remedy.NONE
        assert it.recovery.adjust_for_degradation(_health(0.1, 202.0)).remedy is Remedy.NONE
        down = it.recovery.adjust_for_degradation(_health(0.1, 213.0))
        assert (down.remedy, down.subject) == (Remedy.RESTORE, "cheaper_model")
        it.publish()
        assert len(it.of(DegradationChanged)) == len(it.of(Recovered)) == 2

    def test_a_look_climbs_it(self) -> None:
        it = Ten()
        for _ in range(40):
            it.fleet.decide(it.task("usual"), it.clock())
        for _ in range(30):
            it.look()
        assert it.orchestrator.degrading.ladder.given_up == ("hedging",)

    def test_room_is_made_once(self) -> None:
        it = Ten(lease_ttl_s=5.0)
        it.fleet.decide(it.task("usual"), it.clock())
        it.clock.advance(6.0)
        assert it.recovery.mitigate_resource_exhaustion("n0").at_s == it.clock()
        it.publish()
        assert len(it.of(LeasesExpired)) == 1
        assert not it.recovery.wants_more_nodes, "one node is not the fleet"
        first = it.recovery.mitigate_resource_exhaustion()
        assert (first.remedy, first.subject) == (Remedy.DEGRADE, "the fleet")
        assert it.recovery.wants_more_nodes
        assert it.recovery.mitigate_resource_exhaustion().remedy is Remedy.NONE
        with pytest.raises(ValueError, match="no node 'n99'"):
            it.recovery.mitigate_resource_exhaustion("n99")
        back = it.recovery.restore_balance()
        assert back.remedy is Remedy.RESTORE
        assert back.detail["deviation"] == "0.0"
        assert not it.recovery.wants_more_nodes
        assert it.recovery.restore_balance().remedy is Remedy.NONE

    def test_how_even_the_loads_are_is_said(self) -> None:
        it = Ten()
        for number in range(4):
            it.fleet.ledger.take(it.fleet.nodes["n0"].account, number, it.clock(), 600.0)
        action = it.recovery.restore_balance()
        assert action.remedy is Remedy.NONE
        assert action.why.startswith("the deviation is 3.000, above the target of 0.1; no move")


def _incident(node: str, verdict: Verdict) -> Incident:
    return Incident(node=node, verdict=verdict, at_s=100.0, why="somebody says so")


def _health(pressure: float, at_s: float) -> SystemHealth:
    return SystemHealth(at_s=at_s, nodes={}, capacity_share=1.0, utilization=1.0, pressure=pressure)


def _work(
    *,
    stream: bool = True,
    status: int = 0,
    has_begun: bool = False,
    sent_s: float = 80.0,
    last_s: float = 80.0,
    is_pressed: bool = False,
    finished: bool = False,
) -> Work:
    exchange: Any = SimpleNamespace(call=SimpleNamespace(stream=stream), has_begun=has_begun, is_pressed=is_pressed)
    relay = SimpleNamespace(finished=finished)
    attempt: Any = SimpleNamespace(status=status, has_begun=has_begun, sent_s=sent_s, last_s=last_s, relay=relay)
    return Work(exchange, attempt)
