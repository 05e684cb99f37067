"""What nodes tell of themselves reaches the fleet: capacity that nobody stated, and where a model is loaded."""

import json

import pytest
from gateway_shared import O_CHAT, ask, chat, gateway, node, run, until

from fairlead.config import ServedModel
from fairlead.gateway import RunningGateway
from fairlead.testing.provider import FakeProvider, Reply

VLLM = b"""\
vllm:num_requests_running{model_name="m"} 3
vllm:num_requests_waiting{model_name="m"} 1
vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1
"""


def heard(running: RunningGateway, *names: str) -> bool:
    return all(running.orchestrator.fleet.nodes[name].report is not None for name in names)


def test_what_a_node_can_hold_is_learnt_and_holds() -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            provider.pages["/metrics"] = Reply(body=VLLM)
            async with gateway(node(provider, poll=True)) as running:
                await until(lambda: heard(running, "a"))
                (told,) = (await ask(running, "/admin/nodes")).json["nodes"]
                assert told["capacity"] == {"tokens": 1600}
                assert (told["reported"]["running"], told["reported"]["waiting"]) == (3, 1)
                too_long = await ask(running, O_CHAT, chat("x" * 8000, stream=False))
                assert (too_long.status, "there are 1,600" in too_long.body.decode()) == (400, True)

    run(main())


def loaded(*names: str) -> Reply:
    models = [{"name": name, "model": name, "size": 10**9, "size_vram": 10**9} for name in names]
    return Reply(body=json.dumps({"models": models}).encode())


def test_tasks_go_where_their_model_is_loaded_by_whatever_name_the_node_knows_it() -> None:
    async def main() -> None:
        served = (ServedModel(name="own:1b", public="public"),)
        async with FakeProvider("ollama", models=("own:1b",)) as one, FakeProvider("ollama", models=("own:1b",)) as two:
            two.pages["/api/ps"] = loaded("own:1b")
            nodes = [node(one, "empty", models=served, poll=True), node(two, "loaded", models=served, poll=True)]
            async with gateway(*nodes, strategy="round_robin") as running:
                await until(lambda: heard(running, "empty", "loaded"))
                told = {one["name"]: one for one in (await ask(running, "/admin/nodes")).json["nodes"]}
                assert told["loaded"]["reported"]["loaded"] == ["public"]
                assert told["empty"]["loading_s"] == {"public": 1.0}, "a gigabyte, at a disk's usual pace"
                for _ in range(6):
                    answer = await ask(running, O_CHAT, chat(model="public", stream=False))
                    assert answer.headers["x-fairlead-node"] == "loaded"

    run(main())


def test_a_page_of_rubbish_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            provider.pages["/metrics"] = Reply(body=b"vllm:num_requests_running many\n\xff\xfe<html>")
            async with gateway(node(provider, slots=2, poll=True)) as running:
                await until(lambda: "node a" in caplog.text)
                (told,) = (await ask(running, "/admin/nodes")).json["nodes"]
                assert told["capacity"] == {"slots": 2}
                assert (await ask(running, O_CHAT, chat(stream=False))).status == 200

    run(main())
