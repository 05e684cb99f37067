"""A prompt goes where its beginning is held, and what the nodes had cached is told."""

from typing import Any

from gateway_shared import CHAT, ask, chat, gateway, node, run

from fairlead.config import PrefixConfig
from fairlead.testing.provider import FakeProvider

STORY = "Once upon a time there was a router. " * 60


def conversation(turns: int, topic: str) -> dict[str, Any]:
    """Return a chat that grows: every turn begins with all that was said before."""
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{topic} {n}: {STORY}"} for n in range(turns)]
    return {**chat(), "messages": said}


def test_a_conversation_stays_where_its_beginning_is_held() -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two, FakeProvider() as three:
            nodes = [node(one, "a"), node(two, "b"), node(three, "c")]
            async with gateway(*nodes, exploration=0.0) as running:
                for _ in range(30):  # so that none is a newcomer
                    await ask(running, CHAT, chat(), headers={"x-fairlead-strategy": "round_robin"})
                places: dict[str, set[str]] = {}
                for turns in (1, 3, 5, 7):
                    for topic in ("ships", "ropes", "knots", "sails", "winds", "tides"):
                        answer = await ask(running, CHAT, conversation(turns, topic))
                        places.setdefault(topic, set()).add(answer.headers["x-fairlead-node"])
                assert all(len(nodes) == 1 for nodes in places.values()), places
                assert len(set.union(*places.values())) > 1, "everything went to one node"
                record = (await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")).json
                assert "blocks of the prompt" in record["decision"]["why"]
                told = (await ask(running, "/admin/nodes")).json["nodes"]
                assert sum(one["prefix"]["blocks"] for one in told) > 10

    run(main())


def test_without_prefixes_nothing_is_remembered_of_prompts() -> None:
    async def main() -> None:
        async with (
            FakeProvider() as one,
            FakeProvider() as two,
            gateway(node(one, "a"), node(two, "b"), prefix=PrefixConfig(enabled=False)) as running,
        ):
            for _ in range(3):
                assert (await ask(running, CHAT, conversation(3, "ships"))).status == 200
            assert running.orchestrator.prefixes is None
            assert all("prefix" not in one for one in (await ask(running, "/admin/nodes")).json["nodes"])

    run(main())
