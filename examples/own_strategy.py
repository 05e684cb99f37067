"""An own strategy: the cheapest model that qualifies, held to the laws for strategies and watched in virtual time.

Run it with `python examples/own_strategy.py`. To use it by name, everywhere a strategy is named, install it with

    [project.entry-points."fairlead.strategies"]
    cheapest = "my_package:Cheapest"

in the pyproject.toml of your package; then `TaskRouter("cheapest")`, `strategy: cheapest` in a configuration, and the
header `x-fairlead-strategy: cheapest` all find it.
"""

from fairlead.domain import Model, Node, Price, Task
from fairlead.rng import Draw
from fairlead.routing import Candidate, Choice, Pool, RoutingSettings
from fairlead.routing.contract import shortlist
from fairlead.testing import Behaviour, VirtualFleet, strategy_laws


class Cheapest:
    """Takes the lowest price for output; ties go to the least loaded, then to chance."""

    name = "cheapest"

    def __init__(self, settings: RoutingSettings) -> None:
        del settings  # nothing to set

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the cheapest; a model without a price counts as free."""
        del task
        compared = shortlist(pool, now_s, draw)  # all, or a sample of a very wide pool
        ranks = [(_price(one), one.in_flight, draw.unit()) for one in compared]
        picked = compared[ranks.index(min(ranks))]
        return Choice(picked, compared, [-price for price, _, _ in ranks], "lowest price")

    def forget(self) -> None:
        """Nothing is kept."""


def _price(candidate: Candidate) -> float:
    price = candidate.model.price
    return 0.0 if price is None else price.output_usd_per_mtok


def main() -> None:
    """Run 200 tasks on three nodes; the cheapest has two slots only, so some overflow to the next."""
    strategy_laws(Cheapest)
    fleet = VirtualFleet(Cheapest(RoutingSettings()))
    for name, usd, slots in (("cloud", 15.0, None), ("rented", 2.0, 4), ("own", 0.0, 2)):
        model = Model("coder", price=Price(0.0, usd))
        fleet.add(Node(name, slots=slots), Behaviour(service_s=1.0, jitter=0.2), [model])
    fleet.stream(200, every_s=0.3, model="coder")
    records = fleet.run()

    shares = fleet.shares()
    print(f"{fleet.time.now_s:.0f} s of traffic: " + ", ".join(f"{name} {count}" for name, count in shares.items()))
    assert all(record.succeeded for record in records)
    assert shares["own"] > shares["rented"] > shares["cloud"] == 0


if __name__ == "__main__":
    main()
