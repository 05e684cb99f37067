"""From options to a route: load and cost among equals, failure domains, and whether a route still holds."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.domain import ChainKind, Model, ModelChain, Outcome, Price, RouteOptions, Task, TaskCategory
from fairlead.errors import NoCandidateError
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.fleet_view import FleetView, NodeStanding

CODING = TaskCategory.CODING
TASK = Task("t", 1, category=CODING, input_tokens=1000, output_tokens=1000)
PRICE = Price(1, 1)


class Machines:
    """A view that tells what it was told."""

    def __init__(self, **nodes: list[NodeStanding]) -> None:
        self.nodes = nodes

    def nodes_of(self, model: str) -> list[NodeStanding]:
        return self.nodes.get(model, [])


def conforms(view: Machines) -> FleetView:
    return view


def equals(*names: str, usd: float = 1.0) -> tuple[Model, ...]:
    return tuple(Model(name, price=Price(usd, usd), skill={CODING: 0.8}) for name in names)


def names(chains: tuple[ModelChain, ...]) -> list[str]:
    return [str(chain) for chain in chains]


def test_among_equals_the_less_loaded_goes_first() -> None:
    view = Machines(a=[NodeStanding("n1", load=0.9)], b=[NodeStanding("n2", load=0.1)])
    engine = RoutingEngine(view=view)
    for key in range(10):
        options = engine.calculate_routes(Task("t", key, category=CODING), equals("a", "b"))
        assert str(engine.optimize_allocation(options).primary) == "b"


def test_among_equals_under_the_same_load_the_cheaper_goes_first() -> None:
    models = (*equals("dear", usd=1.1), *equals("cheap", usd=1.0))
    for view in (None, Machines(dear=[NodeStanding("n1", load=0.5)], cheap=[NodeStanding("n2", load=0.52)])):
        engine = RoutingEngine(view=view)
        assert str(engine.optimize_allocation(engine.calculate_routes(TASK, models)).primary) == "cheap"


def test_load_does_not_make_up_for_a_worse_score() -> None:
    good, bad = Model("good", price=PRICE, skill={CODING: 0.9}), Model("bad", price=PRICE, skill={CODING: 0.3})
    view = Machines(good=[NodeStanding("n1", load=0.95)], bad=[NodeStanding("n2")])
    engine = RoutingEngine(view=view)
    assert str(engine.optimize_allocation(engine.calculate_routes(TASK, (good, bad))).primary) == "good"


def test_what_shares_the_primary_s_failure_domain_stands_in_last() -> None:
    skills = {"first": 0.9, "same-rack": 0.8, "elsewhere": 0.5}
    models = [Model(name, price=PRICE, skill={CODING: skill}) for name, skill in skills.items()]
    view = Machines(
        **{
            "first": [NodeStanding("n1", "rack-1")],
            "same-rack": [NodeStanding("n2", "rack-1")],
            "elsewhere": [NodeStanding("n3", "rack-2")],
        }
    )
    engine = RoutingEngine(view=view)
    route = engine.optimize_allocation(engine.calculate_routes(TASK, models))
    assert (str(route.primary), names(route.fallbacks)) == ("first", ["elsewhere", "same-rack"])
    apart = RoutingEngine()
    route = apart.optimize_allocation(apart.calculate_routes(TASK, models))
    assert names(route.fallbacks) == ["same-rack", "elsewhere"], "without a view the score decides"


def test_a_model_with_a_second_rack_does_not_share_the_fate() -> None:
    skills = {"first": 0.9, "both": 0.8, "elsewhere": 0.5}
    models = [Model(name, price=PRICE, skill={CODING: skill}) for name, skill in skills.items()]
    view = Machines(
        first=[NodeStanding("n1", "rack-1")],
        both=[NodeStanding("n1", "rack-1"), NodeStanding("n3", "rack-2")],
        elsewhere=[NodeStanding("n3", "rack-2")],
    )
    engine = RoutingEngine(view=view)
    route = engine.optimize_allocation(engine.calculate_routes(TASK, models))
    assert names(route.fallbacks) == ["both", "elsewhere"]


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 2), st.booleans(), st.sampled_from(["r1", "r2", ""])),
        min_size=1,
        max_size=6,
    )
)
def test_a_route_is_an_order_of_the_options_that_somebody_can_serve(
    told: list[tuple[float, float, bool, str]],
) -> None:
    models = [Model(f"m{i}", price=PRICE, skill={CODING: skill}) for i, (skill, *_) in enumerate(told)]
    nodes = {f"m{i}": [NodeStanding(f"n{i}", fate, load, ok)] for i, (_, load, ok, fate) in enumerate(told)}
    engine = RoutingEngine(view=Machines(**nodes))
    options = engine.calculate_routes(TASK, models)
    served = sorted(name for name, (node,) in nodes.items() if node.is_healthy)
    if not served:
        with pytest.raises(NoCandidateError, match="no healthy node"):
            engine.optimize_allocation(options)
        return
    route = engine.optimize_allocation(options)
    assert sorted(map(str, (route.primary, *route.fallbacks))) == served
    assert route.options is options


def test_a_model_that_no_node_serves_is_an_error_that_names_it() -> None:
    engine = RoutingEngine(view=Machines())
    with pytest.raises(NoCandidateError, match="serves ghost"):
        engine.optimize_allocation(engine.calculate_routes(TASK, [Model("ghost")]))


def test_metrics_tell_loads_and_failures() -> None:
    engine = RoutingEngine(view=Machines(a=[NodeStanding("n1", load=0.25), NodeStanding("n2", load=0.75)]))
    for i in range(8):
        engine.record("a", Outcome(i % 4 > 0, 1.0, CODING), float(i))
    metrics = engine.optimize_allocation(engine.calculate_routes(TASK, equals("a"), 8.0), 8.0).metrics
    assert metrics.load_distribution == {"n1": 0.25, "n2": 0.75}
    assert metrics.resource_utilization == 0.5
    assert metrics.error_rates["a"] == pytest.approx(0.25, abs=0.05)


def test_options_from_elsewhere_are_taken_in_their_order() -> None:
    a, b = ModelChain(("a",)), ModelChain(("b",))
    route = RoutingEngine().optimize_allocation(RouteOptions(a, (b,), {}, {}))
    assert (route.primary, route.fallbacks) == (a, (b,))


def test_what_is_explored_stays_explored() -> None:
    engine = RoutingEngine()
    models = (Model("good", price=PRICE, skill={CODING: 0.9}), Model("new", price=Price(9, 9)))
    engine.record("good", Outcome(True, 1.0, CODING), 0.0)
    every = [engine.calculate_routes(Task("t", key, category=CODING), models, 1.0) for key in range(200)]
    explored = [one for one in every if one.is_explored]
    assert explored
    assert all(engine.optimize_allocation(one).primary == one.primary_route == ModelChain(("new",)) for one in explored)


# -- does it still hold?


def test_a_fresh_route_holds() -> None:
    engine = RoutingEngine(view=Machines(a=[NodeStanding("n1", sampled_at_s=95.0)]))
    options = engine.calculate_routes(TASK, equals("a"), 100.0)
    for route in (options, options.primary_route, engine.optimize_allocation(options, 100.0)):
        assert engine.validate_route(route, 100.0)
        assert engine.why_invalid(route, 100.0) == ()


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([], "no node serves 'a'"),
        ([NodeStanding("n1", is_healthy=False)], "no node that serves 'a' is healthy"),
        ([NodeStanding("n1", sampled_at_s=10.0)], "the health of the nodes that serve 'a' is 90 s old"),
        ([NodeStanding("n1", load=1.0)], "every healthy node that serves 'a' is full"),
    ],
)
def test_a_route_holds_no_longer_when_its_nodes_do_not(nodes: list[NodeStanding], reason: str) -> None:
    engine = RoutingEngine()
    options = engine.calculate_routes(TASK, equals("a"))
    engine.view = Machines(a=nodes)
    assert engine.why_invalid(options, 100.0) == (reason,)
    assert not engine.validate_route(options, 100.0)


def test_a_route_holds_no_longer_when_the_price_changed() -> None:
    engine = RoutingEngine()
    options = engine.calculate_routes(TASK, equals("a"))
    route = engine.optimize_allocation(options)
    engine.know(equals("a", usd=2.0))
    assert engine.why_invalid(options) == engine.why_invalid(route) == ("the price of 'a' changed",)
    assert engine.validate_route(engine.calculate_routes(TASK, equals("a", usd=2.0)))


def test_an_unknown_model_is_a_reason() -> None:
    assert RoutingEngine().why_invalid(ModelChain(("ghost",))) == ("model 'ghost' is unknown",)
    assert RoutingEngine().why_invalid(ModelChain(())) == ("the route has no model",)


def test_of_a_fallback_chain_one_that_holds_is_enough_and_of_a_cascade_all_must() -> None:
    engine = RoutingEngine()
    engine.know(equals("a"))
    assert engine.validate_route(ModelChain(("ghost", "a"), ChainKind.FALLBACK))
    assert not engine.validate_route(ModelChain(("a", "ghost"), ChainKind.CASCADE, "c"))
