"""An exchange that is over is gone at once: what waits for the garbage collector makes memory grow under load."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from fairlead.domain import Model, Node
from fairlead.health.config import HedgingConfig
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.target import http_target
from fairlead.testing import FakeProvider
from fairlead.testing.fates import Fate, Reply

LATE = Reply(fate=Fate.SILENT)


def exchanges() -> list[Exchange]:
    return [one for one in gc.get_objects() if type(one) is Exchange]


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "first", [Reply(), Reply(fate=Fate.CUT), Reply(status=500), LATE], ids=["answers", "cut", "refuses", "late"]
)
def test_nothing_of_an_exchange_is_left(first: Reply) -> None:
    of_others = set(map(id, exchanges()))

    async def main() -> None:
        hedging = HedgingConfig(enabled=True, min_outcomes=1, budget=1.0)
        async with (
            FakeProvider() as one,
            FakeProvider() as two,
            ModelOrchestrator(hedging=hedging) as orchestrator,
        ):
            for name, provider in (("one", one), ("two", two)):
                orchestrator.add(Model("m"), Node(name), http_target(provider.url))
            for _ in range(20):  # so that both are known, and what is late can be told
                await orchestrator.process_task("hello")
            faults = iter([first])
            one.choose = two.choose = lambda _: next(faults, None)
            await orchestrator.process_task("hello")
            assert not list(faults)
            await asyncio.sleep(0)
            assert [one for one in exchanges() if id(one) not in of_others] == []

    asyncio.run(main())
