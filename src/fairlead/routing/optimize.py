"""From options to a route: who of the equals, what stands in for it, and whether it still holds.

Among equals the less loaded goes first, then the cheaper, loads counting as the same within a tenth. What stands in is
ordered by score, but whatever fails together with the primary comes last: a rack without power must not take both.
"""

from collections.abc import Callable, Iterable, Sequence

from fairlead.domain import (
    ChainKind,
    Model,
    ModelChain,
    OptimizedRoute,
    Price,
    RankedRoute,
    RouteOptions,
    RoutingMetrics,
)
from fairlead.errors import NoCandidateError
from fairlead.routing.factors import NEUTRAL_USD
from fairlead.routing.fleet_view import FleetView, NodeStanding
from fairlead.routing.ranking import IssuedOptions

LOAD_STEPS = 10
"""Loads count as the same within one of this many steps."""
STALE_S = 30.0
"""How old what is known of a node's health may be."""
FULL = 1.0

Nodes = dict[str, Sequence[NodeStanding]]


def optimize(
    options: RouteOptions, tolerance: float, view: FleetView | None, error_rate: Callable[[str], float | None]
) -> OptimizedRoute:
    """Pick among near-equals by load and cost, and order what stands in. See the module for how.

    What was picked to learn about it stays picked. Raises NoCandidateError when no node serves any of the models.
    """
    if isinstance(options, IssuedOptions):
        tolerance = options.tolerance
    ranked = options.ranked or _unranked(options)
    nodes: Nodes = {}
    if view is not None:
        nodes = {name: tuple(view.nodes_of(name)) for one in ranked for name in one.chain.models}
        ranked = [one for one in ranked if all(_usable(nodes[name]) for name in one.chain.models)]
        if not ranked:
            raise NoCandidateError(
                f"no healthy node with room serves {', '.join(nodes)}: start one, or wait for one to recover",
                {"no node": len(nodes)},
            )
    primary = ranked[0]
    if not (options.is_explored and primary.chain == options.primary_route):
        top = max(one.score for one in ranked) - tolerance - 1e-12
        primary = min((one for one in ranked if one.score >= top), key=lambda one: _preference(one, nodes))
    rest = sorted((one for one in ranked if one is not primary), key=lambda one: -one.score)
    domains = _domains(primary.chain, nodes)
    apart = [one.chain for one in rest if not _shares_fate(one.chain, primary.chain, domains, nodes)]
    together = [one.chain for one in rest if _shares_fate(one.chain, primary.chain, domains, nodes)]
    return OptimizedRoute(primary.chain, (*apart, *together), _metrics(ranked, nodes, error_rate), options)


def _unranked(options: RouteOptions) -> Sequence[RankedRoute]:
    """Make do with options that somebody else built: nothing is known of their scores but the order."""
    chains = (options.primary_route, *options.alternative_routes)
    return [RankedRoute(chain, -float(i), (), 0.5, 0.0) for i, chain in enumerate(chains)]


def _usable(nodes: Iterable[NodeStanding]) -> list[NodeStanding]:
    healthy = [node for node in nodes if node.is_healthy]
    return [node for node in healthy if node.load < FULL] or healthy


def _preference(one: RankedRoute, nodes: Nodes) -> tuple[int, float, float]:
    load = min((node.load for node in _usable(nodes.get(one.chain.models[0], ()))), default=0.0)
    return (round(load * LOAD_STEPS), NEUTRAL_USD if one.cost_usd is None else one.cost_usd, -one.score)


def _domains(chain: ModelChain, nodes: Nodes) -> frozenset[str]:
    """Return where the first model of a chain is likely to be asked: the domains of its least loaded nodes."""
    usable = _usable(nodes.get(chain.models[0], ()))
    least = min((node.load for node in usable), default=0.0)
    return frozenset(node.domain for node in usable if node.load <= least)


def _shares_fate(chain: ModelChain, primary: ModelChain, domains: frozenset[str], nodes: Nodes) -> bool:
    """Tell whether all that could answer a chain's first model fails with the primary, or is the primary's model."""
    if chain.models[0] in primary.models:
        return True
    usable = _usable(nodes.get(chain.models[0], ()))
    return bool(domains) and bool(usable) and all(node.domain in domains for node in usable)


def _metrics(ranked: Iterable[RankedRoute], nodes: Nodes, error_rate: Callable[[str], float | None]) -> RoutingMetrics:
    loads = {node.name: node.load for standing in nodes.values() for node in standing}
    rates = {name: error_rate(name) for one in ranked for name in one.chain.models}
    return RoutingMetrics(
        resource_utilization=min(sum(loads.values()) / len(loads), 1.0) if loads else 0.0,
        load_distribution=loads,
        error_rates={name: rate for name, rate in rates.items() if rate is not None},
    )


Route = ModelChain | RouteOptions | OptimizedRoute


def why_invalid(
    route: Route, now_s: float, known: dict[str, Model], view: FleetView | None, stale_s: float = STALE_S
) -> tuple[str, ...]:
    """Return why a route holds no longer, an empty tuple where it does.

    Looked at: whether its models are known, whether their prices are what they were when the route was worked out, and,
    with a view of the fleet, whether a healthy node with room serves them and how old that knowledge is. Of a fallback
    chain one model that holds is enough.
    """
    options = route.options if isinstance(route, OptimizedRoute) else route
    prices = options.prices if isinstance(options, IssuedOptions) else {}
    chain = route
    if isinstance(route, OptimizedRoute):
        chain = route.primary
    elif isinstance(route, RouteOptions):
        chain = route.primary_route
    if not isinstance(chain, ModelChain):
        raise TypeError(f"a route is a ModelChain, RouteOptions or OptimizedRoute, not {type(route).__name__}")
    if not chain.models:
        return ("the route has no model",)
    found = [tuple(_why_model(name, now_s, known, prices, view, stale_s)) for name in chain.models]
    if chain.kind is ChainKind.FALLBACK and not all(found):
        return ()
    return tuple(reason for reasons in found for reason in reasons)


def _why_model(
    name: str,
    now_s: float,
    known: dict[str, Model],
    prices: dict[str, Price | None],
    view: FleetView | None,
    stale_s: float,
) -> list[str]:
    model = known.get(name)
    if model is None:
        return [f"model {name!r} is unknown"]
    reasons = []
    if name in prices and model.price != prices[name]:
        reasons.append(f"the price of {name!r} changed")
    if view is None:
        return reasons
    nodes = view.nodes_of(name)
    healthy = [node for node in nodes if node.is_healthy]
    fresh = [node for node in healthy if node.sampled_at_s is None or now_s - node.sampled_at_s <= stale_s]
    if not nodes:
        reasons.append(f"no node serves {name!r}")
    elif not healthy:
        reasons.append(f"no node that serves {name!r} is healthy")
    elif not fresh:
        age_s = now_s - max(node.sampled_at_s or 0.0 for node in healthy)
        reasons.append(f"the health of the nodes that serve {name!r} is {age_s:.0f} s old")
    elif all(node.load >= FULL for node in fresh):
        reasons.append(f"every healthy node that serves {name!r} is full")
    return reasons
