"""Do tasks in your own program, over several model servers, one of which breaks. `python examples/orchestrator.py`."""

import asyncio

from fairlead import LoadBalancer, Model, ModelOrchestrator, Node, ResourceAllocator, RoutingEngine, http_target
from fairlead.config import loads
from fairlead.testing import FakeProvider
from fairlead.testing.fates import Fate, Reply

ANSWER = "A fairlead guides a line round what is in its way, so that it runs true and does not chafe."


async def by_hand(first: FakeProvider, second: FakeProvider) -> None:
    """Wire the parts yourself; each of them works on its own, and each argument may be left out."""
    engine, allocator, balancer = RoutingEngine(), ResourceAllocator(), LoadBalancer()
    async with ModelOrchestrator(engine, allocator, balancer) as orchestrator:
        orchestrator.add(Model("small"), Node("anchor"), http_target(first.url))
        orchestrator.add(Model("small"), Node("beacon"), http_target(second.url))
        result = await orchestrator.process_task("What is a fairlead?", model="small", temperature=0)
        print(f"by hand            {result.model} on {result.node}: {result.text[:33]}...")


async def from_a_configuration(first: FakeProvider, second: FakeProvider) -> None:
    """The same by one constructor: from a file, or from its text as here."""
    config = loads(f"""
strategy: round_robin
nodes:
  - {{name: anchor, url: "{first.url}", models: [small]}}
  - {{name: beacon, url: "{second.url}", models: [small]}}
""")
    async with ModelOrchestrator.from_config(config) as orchestrator:
        first.script(Reply(text=ANSWER, fate=Fate.CUT))
        result = await orchestrator.process_task("What is a fairlead?")
        for step in result.rescues:
            print(f"broke on {step.node:<9} {step.kept_bytes} bytes had come; {step.how} by {step.to_node}")
        print(f"whole all the same {result.text == ANSWER}, after {result.attempts} attempts")


async def main() -> None:
    """Run both against two stand-ins for model servers."""
    usual = Reply(text=ANSWER)
    async with FakeProvider(models=("small",), default=usual) as first, FakeProvider(default=usual) as second:
        await by_hand(first, second)
        await from_a_configuration(first, second)


if __name__ == "__main__":
    asyncio.run(main())
