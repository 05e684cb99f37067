"""Strategies by name: the six of the house, and those that others register under `fairlead.strategies`."""

from difflib import get_close_matches

from fairlead.errors import UnknownStrategyError
from fairlead.routing.contract import RoutingSettings, Strategy, StrategyFactory
from fairlead.routing.strategies.affinity import Affinity
from fairlead.routing.strategies.hybrid import Hybrid
from fairlead.routing.strategies.least_loaded import LeastLoaded
from fairlead.routing.strategies.performance import Performance
from fairlead.routing.strategies.random_choice import RandomChoice
from fairlead.routing.strategies.round_robin import RoundRobin

ENTRY_POINTS = "fairlead.strategies"

BUILT_IN: dict[str, StrategyFactory] = {
    kind.name: kind for kind in (RoundRobin, LeastLoaded, RandomChoice, Performance, Affinity, Hybrid)
}


def make_strategy(name: str, settings: RoutingSettings | None = None) -> Strategy:
    """Build the strategy of that name. Raises UnknownStrategyError, naming those there are."""
    factory = BUILT_IN.get(name)
    if factory is None:
        from importlib.metadata import entry_points  # slow to import, and seldom needed

        for entry in entry_points(group=ENTRY_POINTS, name=name):
            factory = entry.load()
        if factory is None:
            known = [*BUILT_IN, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UnknownStrategyError(f"unknown routing strategy {name!r}; {hint}There are: {', '.join(known)}")
    return factory(settings or RoutingSettings())
