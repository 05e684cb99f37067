"""What a right file becomes."""

from pathlib import Path

import msgspec
import pytest

from fairlead.config import (
    Capacity,
    CircuitBreakerConfig,
    Config,
    KeyConfig,
    NodeConfig,
    NodeKind,
    NodeTimeouts,
    Secret,
    ServedModel,
    Timeouts,
    load,
    loads,
    validate,
)
from fairlead.domain import Model, Node, Price, TaskCategory
from fairlead.errors import ConfigError

DESIGN = """
listen: 127.0.0.1:8400
strategy: hybrid
nodes:
  - name: gpu-1
    url: http://127.0.0.1:8000/v1
    kind: openai
    models: [qwen2.5-coder:7b, {name: "meta/llama3.2", as: "llama3.2:3b"}]
    api_key: ${GPU1_KEY}
    weight: 2
    region: eu-west
    failure_domain: rack-7
    capacity: {slots: 16, tokens_per_minute: 200000}
    headers: {x-org: "${ORG:-none}"}
    timeouts: {first_token_s: 5}
  - name: mac-mini
    url: http://127.0.0.1:11434
    kind: ollama
models:
  - name: qwen2.5-coder:7b
    context_tokens: 32768
    capabilities: [tools, json]
    price: {input_usd_per_mtok: 0.05, output_usd_per_mtok: 0.15}
    skill: {coding: 0.8, debugging: 0.7}
groups:
  fast: [qwen2.5-coder:7b, llama3.2:3b]
aliases: {gpt-4o: qwen2.5-coder:7b}
fallbacks:
  qwen2.5-coder:7b: [llama3.2:3b]
circuit_breaker: {failure_threshold: 5, success_threshold: 3, timeout_s: 30, half_open_requests: 2}
timeouts: {connect_s: 2, first_token_s: 30, idle_s: 20, total_s: 600}
retries: {max_attempts: 3, budget_ratio: 0.2}
"""


def test_the_example_of_the_design() -> None:
    config = loads(DESIGN, env={"GPU1_KEY": "s3cret"})
    gpu, mac = config.nodes
    assert gpu == NodeConfig(
        name="gpu-1",
        url="http://127.0.0.1:8000/v1",
        kind=NodeKind.OPENAI,
        models=(ServedModel(name="qwen2.5-coder:7b"), ServedModel(name="meta/llama3.2", public="llama3.2:3b")),
        api_key=Secret("s3cret"),
        weight=2.0,
        region="eu-west",
        failure_domain="rack-7",
        capacity=Capacity(slots=16, tokens_per_minute=200_000),
        headers={"x-org": Secret("none")},
        timeouts=NodeTimeouts(first_token_s=5.0),
    )
    assert gpu.timeouts.over(config.timeouts) == Timeouts(first_token_s=5.0)
    capacity = Capacity(slots=16, tokens_per_minute=200_000)
    node = Node("gpu-1", weight=2.0, capacity=capacity, region="eu-west", failure_domain="rack-7")
    assert gpu.to_node() == node
    assert node.slots == 16
    assert (mac.kind, mac.models, mac.api_key) == (NodeKind.OLLAMA, None, None)
    assert config.models[0].to_model() == Model(
        "qwen2.5-coder:7b",
        frozenset({"tools", "json"}),
        32768,
        Price(0.05, 0.15),
        {TaskCategory.CODING: 0.8, TaskCategory.DEBUGGING: 0.7},
    )
    assert config.groups == {"fast": ("qwen2.5-coder:7b", "llama3.2:3b")}
    assert config.fallbacks == {"qwen2.5-coder:7b": ("llama3.2:3b",)}
    # what the example spells out are the defaults
    assert msgspec.structs.replace(config, nodes=(), models=(), groups={}, aliases={}, fallbacks={}) == Config()


def test_defaults() -> None:
    config = Config()
    assert (config.host, config.port, config.strategy, config.seed) == ("127.0.0.1", 8400, "hybrid", 0)
    assert config.limits.max_body_bytes == 33_554_432
    assert config.retries.min_per_second == 3
    assert validate(config) is config


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("[::1]:8400", "::1", 8400), ("localhost:0", "localhost", 0), (":80", "0.0.0.0", 80)],
)
def test_where_to_listen(listen: str, host: str, port: int) -> None:
    config = Config(listen=listen, insecure=True)
    assert (config.host, config.port) == (host, port)


@pytest.mark.parametrize(
    ("written", "name", "kind", "url"),
    [
        ("url: http://127.0.0.1:11434", "127.0.0.1:11434", "ollama", "http://127.0.0.1:11434"),
        ("url: http://127.0.0.1:11434/", "127.0.0.1:11434", "ollama", "http://127.0.0.1:11434"),
        ("url: http://127.0.0.1:11434/v1", "127.0.0.1:11434", "openai", "http://127.0.0.1:11434/v1"),
        ("url: http://gpu:8000", "gpu:8000", "openai", "http://gpu:8000/v1"),
        ("url: http://gpu:8000/v1/", "gpu:8000", "openai", "http://gpu:8000/v1"),
        ("url: https://openrouter.ai/api/v1", "openrouter.ai", "openai", "https://openrouter.ai/api/v1"),
        ("{url: http://gpu:9/v1, kind: ollama, name: x}", "x", "ollama", "http://gpu:9"),
        ("{url: 'http://[::1]:8000'}", "[::1]:8000", "openai", "http://[::1]:8000/v1"),
        ("command: [/opt/bin/claude, -p]", "claude", "command", None),
        ("kind: simulated", "simulated", "simulated", None),
    ],
)
def test_what_is_left_out_of_a_node_is_worked_out(written: str, name: str, kind: str, url: str | None) -> None:
    (node,) = loads(f"nodes:\n  - {written}\n").nodes
    assert (node.name, node.kind, node.url) == (name, kind, url)


def test_a_command_takes_one_task_at_once_unless_told_otherwise() -> None:
    config = loads("nodes: [{command: [a]}, {command: [b], concurrency: 3}, {command: [c], capacity: {slots: 2}}]")
    assert [node.capacity.slots for node in config.nodes] == [1, 3, 2]
    assert config.nodes[0].models == (ServedModel(name="a"),)


def test_scalars_are_read_by_the_type_that_is_wanted() -> None:
    text = """
    seed: "7"
    strategy: on
    insecure: Yes
    drain_s: ${DRAIN}
    unix_socket:
    nodes:
      - {name: 12, url: http://a, region: no, weight: 1e1, capacity: {slots: "${SLOTS:-4}"}, models: [7b, 1.5]}
    """
    config = loads(text, env={"DRAIN": "2.5"})
    assert (config.seed, config.strategy, config.insecure, config.drain_s) == (7, "on", True, 2.5)
    assert config.unix_socket is None
    (node,) = config.nodes
    assert (node.name, node.region, node.weight, node.capacity.slots) == ("12", "no", 10.0, 4)
    assert [model.name for model in node.models or ()] == ["7b", "1.5"]


def test_anchors_and_merges() -> None:
    text = """
    nodes:
      - &one {url: "http://a:1", weight: 3, region: eu}
      - {<<: *one, url: "http://b:1", weight: 1}
      - {<<: [{region: us}, *one], url: "http://c:1"}
    """
    assert [(node.name, node.weight, node.region) for node in loads(text).nodes] == [
        ("a:1", 3, "eu"),
        ("b:1", 1, "eu"),
        ("c:1", 3, "us"),
    ]


def test_expanding() -> None:
    env = {"A": "1", "EMPTY": ""}
    for written, read in [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-}z", "z"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
    ]:
        (node,) = loads(f"nodes: [{{url: 'http://a', region: '{written}'}}]", env=env).nodes
        assert node.region == read


def test_keys_are_compared_by_digest() -> None:
    written = KeyConfig(name="a", key=Secret("fl-abc"))
    hashed = KeyConfig(name="a", key_sha256=written.digest().hex())
    assert written.digest() == hashed.digest()


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fairlead.yaml"
    path.write_text("\ufeffnodes: [{url: http://a:1}]", encoding="utf-8")
    assert load(path, {}).nodes[0].name == "a:1"
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: no such file"):
        load(tmp_path / "nowhere.yaml", {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(path, {})
    path.write_bytes(b"#" * (4 * 2**20 + 1))
    with pytest.raises(ConfigError, match="is larger than 4 MiB"):
        load(path, {})


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_TEST_REGION", "moon")
    assert loads("nodes: [{url: 'http://a', region: '${FAIRLEAD_TEST_REGION}'}]").nodes[0].region == "moon"


@pytest.mark.parametrize("name", CircuitBreakerConfig.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_breaker_is_checked_wherever_it_is_built(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"circuit_breaker.{name} must be above 0"):
        CircuitBreakerConfig(**{name: value})  # type: ignore[arg-type]  # the names are the test's parameters


def test_a_configuration_built_in_a_program_is_checked_too() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Config(listen="8400", nodes=(NodeConfig(url="ftp://a"), NodeConfig(kind=NodeKind.COMMAND))), "here")
    assert str(caught.value).splitlines() == [
        "here: listen: expected host:port, such as 127.0.0.1:8400",
        "here: nodes[0].url: expected an address such as http://127.0.0.1:8000/v1 (http or https)",
        "here: nodes[1].command: a node of kind command needs the program and its arguments as a list",
    ]
