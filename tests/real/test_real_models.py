"""The gateway before real llama.cpp servers, driven by the real clients; skips, visibly, without weights."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

from fairlead.local.process import LocalServer

ROOT = Path(__file__).parents[2]
SHORT_TOKENS, LONG_TOKENS = 256, 1024


@pytest.fixture(scope="module")
def fleet(weights: Path, replica: Path) -> Iterator[dict[str, LocalServer]]:
    """One real model, two replicas cut to two layers (nonsense words, real engine), one that embeds."""
    whole = LocalServer.start(weights, "smollm2", context_tokens=SHORT_TOKENS)
    parts = [LocalServer.start(replica, "tiny", context_tokens=SHORT_TOKENS) for _ in range(2)]
    larger = LocalServer.start(replica, "tiny-long", context_tokens=LONG_TOKENS)
    embedder = LocalServer.start(replica, "embed", context_tokens=SHORT_TOKENS, embeddings=True)
    servers = {"whole": whole, "left": parts[0], "right": parts[1], "larger": larger, "embedder": embedder}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="module")
def url(fleet: dict[str, LocalServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`fairlead serve` on a file, as a user runs it."""
    nodes = "\n".join(f"  - {{name: {name}, url: '{server.url}'}}" for name, server in fleet.items())
    file = tmp_path_factory.mktemp("real") / "fairlead.yaml"
    file.write_text(f"listen: 127.0.0.1:0\nnodes:\n{nodes}\nfallbacks: {{tiny: [tiny-long]}}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", "serve", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"http://" in line and b"leads to" in line:
            yield "http://" + line.decode().split("http://")[1].split(";")[0].strip()
            break
    process.terminate()
    process.communicate(timeout=40)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_nodes_are_asked_for_their_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"smollm2", "tiny", "tiny-long", "embed", "auto"}


def test_openai_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert answer.headers["x-fairlead-node"] == "whole"
    parsed = answer.parse()
    assert parsed.choices[0].message.content
    assert parsed.usage is not None
    assert parsed.usage.completion_tokens <= 8
    stream = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Count to three."}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens <= 8


def test_a_schema_is_obeyed(client: openai.OpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}},
        "required": ["name"],
    }
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Give a name."}],
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )
    assert "name" in json.loads(answer.choices[0].message.content or "")


def test_completions_and_embeddings(client: openai.OpenAI) -> None:
    assert client.completions.create(model="smollm2", prompt="Once upon", max_tokens=4).choices[0].text
    vectors = client.embeddings.create(model="embed", input=["a", "b"])
    assert len(vectors.data) == 2
    assert len(vectors.data[0].embedding) > 100


def test_ollama_clients_reach_llama_cpp(url: str) -> None:
    client = ollama.Client(host=url)
    hello = [{"role": "user", "content": "Say hello."}]
    answer = client.chat(model="smollm2", messages=hello, options={"num_predict": 6})
    assert answer.message.content
    assert answer.eval_count is not None
    assert answer.eval_count <= 6
    pieces = list(client.chat(model="smollm2", messages=hello, options={"num_predict": 6}, stream=True))
    assert pieces[-1].done
    assert "".join(piece.message.content or "" for piece in pieces)
    assert client.generate(model="smollm2", prompt="Once", options={"num_predict": 4}).response
    assert len(client.embed(model="embed", input="a").embeddings[0]) > 100
    assert "smollm2" in [model.model for model in client.list().models]
    client._client.close()  # its own close() has no types


def test_anthropic_clients_pass_through(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        hello: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Say hello."}]
        answer = client.messages.create(model="smollm2", max_tokens=8, messages=hello)
        assert answer.content[0].type == "text"
        with client.messages.stream(model="smollm2", max_tokens=8, messages=hello) as stream:
            assert "".join(stream.text_stream)


def test_too_long_a_prompt_goes_to_the_larger_context(client: openai.OpenAI) -> None:
    prompt = "word " * 400
    answer = client.chat.completions.with_raw_response.create(
        model="tiny", messages=[{"role": "user", "content": prompt}], max_tokens=2
    )
    assert answer.headers["x-fairlead-model"] == "tiny-long"
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "word " * 3000}], max_tokens=2
        )
    assert refused.value.status_code in (400, 503)


def test_a_caller_that_hangs_up_frees_its_slot(client: openai.OpenAI, fleet: dict[str, LocalServer]) -> None:
    stream = client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "Tell a long story."}], max_tokens=200, stream=True
    )
    next(iter(stream))
    assert busy_slots(fleet["whole"]) == 1
    stream.close()
    end_s = time.monotonic() + 3
    while busy_slots(fleet["whole"]):
        assert time.monotonic() < end_s


def test_a_dead_server_is_not_noticed_by_callers(client: openai.OpenAI, fleet: dict[str, LocalServer]) -> None:
    fleet["left"].stop()
    nodes: list[str] = []

    def ask() -> None:
        answer = client.chat.completions.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": "go on"}], max_tokens=2
        )
        nodes.append(answer.headers["x-fairlead-node"])

    callers = [threading.Thread(target=ask) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(nodes) == 16
    assert "left" not in nodes  # the other model stands in where the living one has no slot free


def test_the_demonstration_ends_well(weights: Path) -> None:
    del weights  # it fetches them by itself
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Every task was answered." in done.stdout
    for category in ("coding", "debugging", "refactoring", "testing", "documentation", "code_review"):
        assert category in done.stdout


def busy_slots(server: LocalServer) -> int:
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/slots", timeout=5) as answer:
        return sum(slot["is_processing"] for slot in json.load(answer))
