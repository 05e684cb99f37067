"""Fleets of many nodes: records stay small, errors say where they come from, nothing nests as deep as it is wide."""

import json

from gateway_shared import CHAT, ask, chat, gateway, node, run

from fairlead.config import NodeConfig, NodeKind, ServedModel
from fairlead.gateway.serving import _ask_nodes
from fairlead.testing.provider import FakeProvider, Reply


def test_a_decision_record_stays_below_4_kb() -> None:
    async def main() -> None:
        nodes = [
            NodeConfig(
                name=f"a-node-with-quite-a-long-name-number-{n:05}",
                kind=NodeKind.SIMULATED,
                models=(ServedModel(name="m"),),
            )
            for n in range(60)
        ]
        async with gateway(*nodes) as running:
            answer = await ask(running, CHAT, chat())
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}", method="GET")
            assert record.status == 200
            assert len(record.body) <= 4096
            assert json.loads(record.body)["decision"]["candidates_compared"] == 60

    run(main())


def test_what_no_node_can_be_asked_is_refused_however_many_there_are() -> None:
    async def main() -> None:
        url = "http://127.0.0.1:9"
        nodes = [
            NodeConfig(name=f"n{n}", url=url, kind=NodeKind.OLLAMA, models=(ServedModel(name="m"),)) for n in range(300)
        ]
        async with gateway(*nodes) as running:
            answer = await ask(running, CHAT, chat(n=3))
            assert answer.status == 400

    run(main())


def test_an_error_says_which_node_it_comes_from() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(status=400)) as provider, gateway(node(provider, "a")) as running:
            answer = await ask(running, CHAT, chat("write a test"))
            assert (answer.status, answer.headers["x-fairlead-node"]) == (400, "a")
            assert answer.headers["x-fairlead-category"] == "testing"

    run(main())


def test_a_node_without_models_is_asked_again() -> None:
    async def main() -> None:
        async with FakeProvider(models=()) as provider:
            empty = NodeConfig(name="a", url=provider.url, kind=NodeKind.OPENAI)
            seen, silent = await _ask_nodes([empty])
            assert (dict(seen), silent) == ({}, [empty])

    run(main())
