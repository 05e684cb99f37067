"""Several dispatches on one fleet, whatever happens in whatever order: late and duplicate events included."""

from collections import Counter
from collections.abc import Callable

import pytest
from core_shared import OK, place
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fairlead.allocation import Account, Lease
from fairlead.domain import Model, Node, Task
from fairlead.domain.rescue import Rescue
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import DONE, Action, Dispatch, Phase, Refuse, Send, Wait
from fairlead.engine.faults import TREATMENTS
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault
from fairlead.health import Circuit, CircuitBreakerConfig
from fairlead.health.config import HealthConfig
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.catalog import BUILT_IN

pytestmark = pytest.mark.heavy

TTL_S = 60.0
NODES = {
    "a": Node("a", region="eu", failure_domain="x"),
    "b": Node("b", region="eu", failure_domain="x", slots=2),
    "c": Node("c", region="us", slots=1),
    "d": Node("d", region="us"),
}
MODELS = {"m": Model("m", context_tokens=4096), "k": Model("k", context_tokens=8192), "u": Model("u")}
SERVED = {"a": ("m", "u"), "b": ("m", "k"), "c": ("m",), "d": ("k", "m")}
NAMES = st.sampled_from(sorted(NODES))
FAULTS = st.sampled_from(sorted(Fault))
LATER_S = st.sampled_from((0.0, 0.01, 0.3))
INDEX = st.integers(0, 1)


class CountedBudget(RetryBudget):
    """A budget that remembers what it gave."""

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__(policy)
        self.given = self.requests = 0

    def deposit(self) -> None:
        super().deposit()
        self.requests += 1

    def withdraw(self, now_s: float) -> bool:
        has_one = super().withdraw(now_s)
        self.given += has_one
        return has_one


class Story:
    """What one dispatch did, as seen from outside."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.asked: dict[str, set[str]] = {}
        """Node -> models, since the last wait for a time."""
        self.has_refused: set[str] = set()
        """Nodes that may be asked for another model."""
        self.losers: set[str] = set()
        self.silent: set[str] = set()
        self.said_by: str | None = None
        """The model that the caller has a part of the answer from."""
        self.only: str | None = None
        """The model that alone may be asked."""
        self.sends = self.free = 0
        """Nodes asked, and how many of them the limit on attempts does not count."""
        self.decisions: list[Decision] = []


class Dispatches(RuleBasedStateMachine):
    """Anything that may happen to a few tasks."""

    @initialize(
        strategy=st.sampled_from(tuple(BUILT_IN)),
        policy=st.builds(
            RetryPolicy,
            max_attempts=st.integers(1, 4),
            budget_ratio=st.sampled_from((0.0, 0.2)),
            min_per_second=st.sampled_from((0.0, 3.0)),
        ),
        named=st.lists(st.sampled_from(("m", "k", "auto", "pair")), min_size=2, max_size=2),
        patience_s=st.sampled_from((None, 5.0)),
    )
    def begin(self, strategy: str, policy: RetryPolicy, named: list[str], patience_s: float | None) -> None:
        self.now_s = 0.0
        self.policy, self.budget = policy, CountedBudget(policy)
        breaker = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_s=3.0)
        health = HealthConfig(min_outcomes=2, ejection_s=2.0)
        self.fleet = Fleet(
            make_strategy(strategy, RoutingSettings()),
            FleetSettings(lease_ttl_s=TTL_S, breaker=breaker, health=health, max_node_utilization=0.8),
        )
        self.leases: list[Lease] = []
        self.returned: Counter[int] = Counter()
        self._see_leases()
        for name in NODES:
            self._join(name)
        self.fleet.name_group("pair", ("m", "u"))
        self.fleet.name_fallbacks("m", ("k",))
        self.tasks = 0
        self.patience_s = patience_s
        self.stories = [self._story(name) for name in named]
        self.start(0)

    # -- what happens to a task

    @rule(i=INDEX)
    def start(self, i: int) -> None:
        self._happens(i, lambda one: one.begin(self.now_s))

    @rule(i=INDEX, name=st.sampled_from(("m", "k", "auto", "pair")))
    def go_on_with_another(self, i: int, name: str) -> None:
        if self.stories[i].dispatch.phase is Phase.OVER:
            self.stories[i] = self._story(name)
            self.start(i)

    @rule(i=INDEX)
    def hold(self, i: int) -> None:
        self._quietly(i, lambda one: one.hold(self.now_s), {Phase.NEW})

    @rule(i=INDEX)
    def resume(self, i: int) -> None:
        self._happens(i, lambda one: one.resume(self.now_s))

    @rule(i=INDEX)
    def give_way(self, i: int) -> None:
        story = self.stories[i]
        if story.dispatch.phase is Phase.SENT:
            for decision in self._under_way(story):
                story.asked.get(place(decision), set()).discard(decision.candidate.model.name)
                story.losers.add(place(decision))
                story.free += 1
        self._quietly(i, lambda one: one.give_way(self.now_s), {Phase.SENT})

    @rule(i=INDEX)
    def progress(self, i: int) -> None:
        self._quietly(i, lambda one: one.progress(self.now_s, 10), set())

    @rule(i=INDEX, fault=FAULTS, retry_after_s=st.sampled_from((None, 0.5, 60.0)), has_part=st.integers(0, 5))
    def fail(self, i: int, fault: Fault, retry_after_s: float | None, has_part: int) -> None:
        self._note_fault(i, fault, has_part=has_part == 0)
        self._repeats(i, fault, lambda one: one.fail(fault, self.now_s, 0.1, retry_after_s, has_part == 0))

    @rule(i=INDEX, fault=FAULTS, who=st.sampled_from(tuple(Rescue)), unable=st.frozensets(NAMES))
    def rescue(self, i: int, fault: Fault, who: Rescue, unable: frozenset[str]) -> None:
        story = self.stories[i]
        self._note_fault(i, fault, has_part=True)
        if story.dispatch.phase is Phase.SENT and story.dispatch.decision is not None:
            story.said_by = story.said_by or story.dispatch.decision.candidate.model.name
            story.only = story.said_by if who is Rescue.SAME_MODEL else None
        self._repeats(i, Fault.TRANSPORT, lambda one: one.rescue(fault, self.now_s, 0.1, who, unable))

    @rule(i=INDEX)
    def hedge(self, i: int) -> None:
        story = self.stories[i]
        first = story.dispatch.decision
        before = story.dispatch.attempts
        action = story.dispatch.hedge(self.now_s)
        if isinstance(action, Send):
            assert first is not None
            assert first is story.dispatch.decision
            assert action.decision is story.dispatch.rival
            assert place(action.decision) != place(first), "a race with itself"
            assert action.decision.candidate.model is first.candidate.model, "a race is for the same answer"
            self._sent(story, action.decision)
            story.free += 1
        else:
            assert action is DONE
            assert story.dispatch.attempts == before

    @rule(i=INDEX, is_rival=st.booleans(), latest=st.integers(1, 3))
    def win(self, i: int, is_rival: bool, latest: int) -> None:
        story = self.stories[i]
        dispatch = story.dispatch
        decision = self._one_of(story, is_rival=is_rival, latest=latest)
        if decision is None:
            return
        both = self._under_way(story)
        loser = dispatch.won(decision, self.now_s)
        if len(both) == 2 and decision in both:
            assert loser is not None
            assert {id(loser), id(dispatch.decision)} == set(map(id, both))
            assert dispatch.decision is decision
            assert not loser.lease.is_open
            story.losers.add(place(loser))
        else:
            assert loser is None
        assert dispatch.rival is None or decision not in both

    @rule(i=INDEX, is_rival=st.booleans(), latest=st.integers(1, 3), fault=FAULTS)
    def lose(self, i: int, is_rival: bool, latest: int, fault: Fault) -> None:
        story = self.stories[i]
        decision = self._one_of(story, is_rival=is_rival, latest=latest)
        if decision is None:
            return
        both = self._under_way(story)
        goes_on = story.dispatch.lost(decision, fault, self.now_s, 0.1)
        assert goes_on == (len(both) == 2 and any(decision is one for one in both))
        if goes_on:
            left = both[0] if decision is both[1] else both[1]
            assert story.dispatch.decision is left
            assert story.dispatch.rival is None
            self._blamed(story, decision, fault)

    @rule(i=INDEX)
    def complete(self, i: int) -> None:
        was_sent = self.stories[i].dispatch.phase is Phase.SENT
        assert self._happens(i, lambda one: one.complete(OK, self.now_s)) is DONE
        assert not was_sent or self.stories[i].dispatch.phase is Phase.OVER

    @rule(i=INDEX)
    def cancel(self, i: int) -> None:
        assert self._happens(i, lambda one: one.cancel(self.now_s)) is DONE
        assert self.stories[i].dispatch.phase is Phase.OVER

    # -- what happens to the fleet

    @rule(seconds=st.sampled_from((0.05, 0.5, 3.0, 20.0)))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.fleet.tick(self.now_s)
        self.fleet.review_health(self.now_s)
        self.fleet.expire(self.now_s)

    @rule(name=NAMES, is_well=st.booleans())
    def check(self, name: str, is_well: bool) -> None:
        self.fleet.checked(name, is_well, self.now_s)

    @rule(name=NAMES, is_draining=st.booleans())
    def drain(self, name: str, is_draining: bool) -> None:
        if name in self.fleet.nodes:
            self.fleet.drain(name, is_draining, self.now_s)

    @rule(name=NAMES)
    def recover(self, name: str) -> None:
        if name in self.fleet.nodes:
            self.fleet.force_recovery(name, self.now_s)

    @rule(name=NAMES)
    def come_or_go(self, name: str) -> None:
        if name in self.fleet.nodes:
            for model in tuple(self.fleet.nodes[name].candidates):
                self.fleet.remove(model, name, self.now_s)
        else:
            self._join(name)

    # -- what is always so

    @invariant()
    def the_ledger_is_what_the_dispatches_hold(self) -> None:
        held = Counter(id(lease) for lease in self.leases if lease.is_open)
        assert held == Counter(map(id, self.fleet.ledger))
        mine = [decision.lease for story in self.stories for decision in self._under_way(story)]
        assert {id(lease) for lease in mine if lease.is_open} == set(held), "nobody's lease, or one too many"
        in_flight: Counter[Account] = Counter(lease.account for lease in self.leases if lease.is_open)
        for account in {lease.account for lease in self.leases}:
            assert account.in_flight == in_flight[account]
            assert account.slots is None or account.in_flight <= account.slots

    @invariant()
    def two_at_once_only_in_a_race(self) -> None:
        for story in self.stories:
            both = self._under_way(story)
            if len(both) == 2:
                assert both[0] is not both[1]
                assert place(both[0]) != place(both[1])

    @invariant()
    def repeats_are_paid_for(self) -> None:
        budget, policy = self.budget, self.policy
        earned = policy.budget_ratio * (RetryBudget.HEAD_START + budget.requests)
        assert budget.given <= earned + policy.min_per_second * (1.0 + self.now_s) + 1e-9

    @invariant()
    def attempts_are_bounded(self) -> None:
        for story in self.stories:
            assert story.dispatch.repeats <= self.policy.max_attempts
            assert story.dispatch.attempts == story.sends
            assert story.sends - story.free <= self.policy.max_attempts, "first, and repeats that a node may have begun"

    def teardown(self) -> None:
        if not hasattr(self, "stories"):
            return
        for i in range(len(self.stories)):
            self.cancel(i)
            self.cancel(i)
            self.complete(i)
        self.the_ledger_is_what_the_dispatches_hold()
        assert len(self.fleet.ledger) == 0
        assert all(lease.account.in_flight == lease.account.probes == 0 for lease in self.leases)
        assert self.returned == Counter(lease.id for lease in self.leases), "once each, by its owner or by expiry"

    # -- how it is seen

    def _happens(self, i: int, event: Callable[[Dispatch], Action]) -> Action:
        """Let something happen to a task, and look at what it leads to."""
        story = self.stories[i]
        dispatch, before = story.dispatch, story.dispatch.phase
        leases, attempts = len(self.leases), dispatch.attempts
        action = event(dispatch)
        if before is Phase.OVER:
            assert (action, dispatch.phase, len(self.leases), dispatch.attempts) == (DONE, before, leases, attempts)
        elif isinstance(action, Send):
            assert dispatch.phase is Phase.SENT
            assert action.decision is dispatch.decision
            assert dispatch.rival is None
            self._sent(story, action.decision)
        elif isinstance(action, Wait):
            assert dispatch.phase is Phase.WAITING
            if action.until_s is not None:
                assert self.now_s < action.until_s <= self.now_s + self.policy.max_wait_s
                story.asked = {}
                story.losers.clear()
        elif isinstance(action, Refuse):
            assert dispatch.phase is Phase.OVER
            assert action.fault is not None or action.error is not None
        return action

    def _repeats(self, i: int, fault: Fault, event: Callable[[Dispatch], Action]) -> None:
        """Let an attempt fail, and look at who pays for the next: it is free where it adds nothing to an outage."""
        given, failed = self.budget.given, self.stories[i].dispatch.decision
        action = self._happens(i, event)
        if isinstance(action, Send) and failed is not None and TREATMENTS[fault].is_budgeted:
            broken = self.fleet.nodes.get(place(failed))
            has_opened = broken is not None and broken.breaker.state is not Circuit.CLOSED
            asked = self.fleet.nodes[place(action.decision)].breaker
            is_well = asked.state is Circuit.CLOSED and asked.failures_in_a_row == 0
            assert self.budget.given > given or has_opened or is_well

    def _quietly(self, i: int, event: Callable[[Dispatch], None], phases: set[Phase]) -> None:
        dispatch = self.stories[i].dispatch
        before, attempts = dispatch.phase, dispatch.attempts
        event(dispatch)
        assert dispatch.attempts == attempts
        assert dispatch.phase is (Phase.WAITING if before in phases else before)

    def _sent(self, story: Story, decision: Decision) -> None:
        node, model = place(decision), decision.candidate.model.name
        assert decision.lease.is_open
        assert node not in story.silent, "a node that never answered is asked again"
        assert story.only in (None, model), "another model goes on with an answer that was to stay with its own"
        before = story.asked.get(node, set())
        assert model not in before or node in story.losers, "the same again"
        assert not before or node in story.has_refused | story.losers, "the same node while another is left"
        story.asked[node] = {*before, model}
        story.sends += 1
        story.decisions.append(decision)

    def _note_fault(self, i: int, fault: Fault, *, has_part: bool = False) -> None:
        story = self.stories[i]
        decision = story.dispatch.decision
        if story.dispatch.phase is Phase.SENT and decision is not None:
            self._blamed(story, decision, fault)
            is_free = not TREATMENTS[fault].is_budgeted or fault is Fault.RATE_LIMITED  # which did nothing
            story.free += is_free and not has_part
            story.losers.update(place(one) for one in self._under_way(story) if one is not decision)

    def _blamed(self, story: Story, decision: Decision, fault: Fault) -> None:
        if fault is Fault.TIMEOUT:
            story.silent.add(place(decision))
        if fault in {Fault.NOT_FOUND, Fault.CONTEXT}:
            story.has_refused.add(place(decision))

    def _under_way(self, story: Story) -> list[Decision]:
        dispatch = story.dispatch
        if dispatch.phase is not Phase.SENT:
            return []
        return [one for one in (dispatch.decision, dispatch.rival) if one is not None]

    def _one_of(self, story: Story, *, is_rival: bool, latest: int) -> Decision | None:
        """Return one of those that race, or one from before."""
        if latest > 1:
            return story.decisions[-latest] if len(story.decisions) >= latest else None
        return story.dispatch.rival if is_rival else story.dispatch.decision

    def _story(self, model: str) -> Story:
        self.tasks = number = self.tasks + 1
        deadline_s = None if self.patience_s is None else self.now_s + self.patience_s
        task = Task(f"t{number}", number, model=model, deadline_s=deadline_s)
        return Story(Dispatch(self.fleet, task, self.policy, self.budget))

    def _join(self, name: str) -> None:
        for model in SERVED[name]:
            self.fleet.add(MODELS[model], NODES[name], self.now_s)

    def _see_leases(self) -> None:
        ledger = self.fleet.ledger
        take, give_back = ledger.take, ledger.give_back

        def seen_take(*args: object, **more: object) -> Lease | None:
            lease = take(*args, **more)  # type: ignore[arg-type]  # whatever it is called with
            if lease is not None:
                self.leases.append(lease)
            return lease

        def seen_give_back(lease: Lease, used_tokens: int | None = None) -> bool:
            was_open = give_back(lease, used_tokens)
            self.returned[lease.id] += was_open
            if not self.returned[lease.id]:
                del self.returned[lease.id]
            return was_open

        ledger.take = seen_take  # type: ignore[method-assign]  # to see every lease
        ledger.give_back = seen_give_back  # type: ignore[method-assign]  # and its end


def explore(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Dispatches,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_events_keeps_the_books() -> None:
    explore(100, 50)


@pytest.mark.soak
def test_any_order_of_events_keeps_the_books_for_long() -> None:
    explore(3000, 80)
