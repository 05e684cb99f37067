"""What a wrong file is told, to the letter."""

from collections.abc import Callable, Iterator

import pytest

from fairlead.config import Config, loads
from fairlead.config.checks import Finding
from fairlead.config.problems import Foreign
from fairlead.errors import ConfigError
from fairlead.routing.config import RoutingConfig, Weights

NODE = "nodes: [{name: a, url: 'http://a:1', models: [m, n]}]\n"


def complaint(text: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml", env or {})
    return str(caught.value)


NOT_NODES = [
    ("", "f.yaml:1: there are no nodes; add at least: nodes: [{url: http://127.0.0.1:11434}]"),
    ("# only\n", "f.yaml:1: there are no nodes; add at least: nodes: [{url: http://127.0.0.1:11434}]"),
    ("seed: 1\nnodes:\n", "f.yaml:1: there are no nodes; add at least: nodes: [{url: http://127.0.0.1:11434}]"),
    ("- a\n", "f.yaml:1: expected keys with values, but a list stands here"),
    ("hello\n", 'f.yaml:1: expected keys with values, not "hello"'),
    ("nodes: http://a\n", 'f.yaml:1: nodes: expected a list, not "http://a"'),
    ("nodes:\n  url: http://a\n", "f.yaml:2: nodes: expected a list, but keys with values stand here"),
    ("nodes:\n  -\n", "f.yaml:2: nodes[0]: expected keys with values, but nothing is written here"),
    ("x: [\n", "f.yaml:1: cannot be read as YAML: did not find expected node content"),
    ("a: 1\n b: 2\n", "f.yaml:2: cannot be read as YAML: mapping values are not allowed in this context"),
    ("a: \x00", "f.yaml:1: cannot be read as YAML: the file holds characters that are no text"),
    (
        "listen: [::1]:8400\n",
        "f.yaml:1: cannot be read as YAML: did not find expected node content; "  # noqa: ISC004 - one long sentence
        'an IPv6 address needs quotes: "[::1]:8400"',
    ),
]


@pytest.mark.parametrize(("text", "message"), NOT_NODES)
def test_files_without_a_fleet(text: str, message: str) -> None:
    assert complaint(text) == message


BESIDE_A_NODE = [
    # keys
    ("nodez: []", 'unknown key "nodez"; did you mean "nodes"?'),
    (
        "models: [{name: x, pirce: 1}]",
        'unknown key "pirce" in models[0]; did you mean "price"?',
    ),
    (
        "retries: {zzz: 1}",
        'unknown key "zzz" in retries; known here: max_attempts, budget_ratio, min_per_second',
    ),
    ("models: [{name: x, skill: {codng: 1}}]", 'unknown key "codng" in models[0].skill; did you mean "coding"?'),
    ("seed: 1\nseed: 2", 'the key "seed" is written twice, first on line 2'),
    ("groups: {a: [m], a: [n]}", 'the key "a" is written twice, first on line 2 in groups'),
    ("[a]: 1", "expected a word as key"),
    ("models: [{context_tokens: 5}]", 'models[0]: the key "name" is missing'),
    ("models: [{name: }]", 'models[0]: the key "name" is missing'),
    # types and ranges
    ("seed: 1.5", 'seed: expected a whole number, not "1.5"'),
    ("insecure: maybe", 'insecure: expected true or false, not "maybe"'),
    ("drain_s: -1", 'drain_s: expected a number, 0 or more, not "-1"'),
    ("exploration: 1.5", 'exploration: expected a number from 0 to 1, not "1.5"'),
    ("half_life_s: .inf", 'half_life_s: expected a number above 0, not ".inf"'),
    ("half_life_s: inf", 'half_life_s: expected a number above 0, not "inf"'),
    ("half_life_s: nan", 'half_life_s: expected a number above 0, not "nan"'),
    ("limits: {max_body_bytes: 32MB}", 'limits.max_body_bytes: expected a whole number above 0, not "32MB"'),
    ("strategy: ''", "strategy: expected a text, not an empty text"),
    ("strategy: [a]", "strategy: expected a text, but a list stands here"),
    ("timeouts: 5", 'timeouts: expected keys with values, not "5"'),
    ("circuit_breaker: {timeout_s: 0}", 'circuit_breaker.timeout_s: expected a number above 0, not "0"'),
    ("models: [{name: x, skill: {coding: 2}}]", 'models[0].skill.coding: expected a number from 0 to 1, not "2"'),
    (
        "models: [{name: x, price: {input_usd_per_mtok: -1}}]",
        "models[0].price.input_usd_per_mtok: expected a number, 0 or more",
    ),
    (
        "cascades: [{name: x, models: [m, n], check: {min_mean_logprob: 3}}]",
        'cascades[0].check.min_mean_logprob: expected a number, 0 or less, not "3"',
    ),
    (
        "routing: {weights: {capability: 0, performance: 0, resource_efficiency: 0, historical_success: 0}}",
        "routing.weights: must be 0 or more, and one above 0, not (0.0, 0.0, 0.0, 0.0)",
    ),
    ("routing: {explore_min: 0.5}", "routing.explore_min: must not be above explore_max (0.1), and is 0.5"),
    ("routing: {explore_max: 0.001}", "routing.explore_min: must not be above explore_max (0.001), and is 0.01"),
    ("groups: {fast: m}", 'groups.fast: expected a list, not "m"'),
    ("aliases: {a: }", "aliases.a: expected a text, but nothing is written here"),
    ("seed: !env SEED", "seed: tags such as !this are not understood; write the value itself"),
    # the environment
    ("seed: ${NONE}", "seed: the environment variable NONE is not set; set it, or give a default: ${NONE:-default}"),
    ("strategy: ${a b}", "strategy: expected ${NAME} or ${NAME:-default}; write $${ for a plain ${"),
    # where to listen
    ("listen: 8400", "listen: expected host:port, such as 127.0.0.1:8400"),
    ("listen: 127.0.0.1:99999", "listen: expected a port from 0 to 65535"),
    ("listen: http://a:80", "listen: expected brackets round an IPv6 address, such as [::1]:8400"),
    ("listen: a/b:80", "listen: expected host:port without a scheme or a path, such as 127.0.0.1:8400"),
    ("listen: ::1:80", "listen: expected brackets round an IPv6 address, such as [::1]:8400"),
    (
        "listen: 0.0.0.0:80",
        "listen: other machines can reach this address and no key guards it; add keys (fairlead key new makes one), or",
    ),
    # parts that must fit together
    ("keys: [{name: a}]", "keys[0]: write one of key and key_sha256 (fairlead key new makes both)"),
    (
        f"keys: [{{name: a, key: b, key_sha256: {'0' * 64}}}]",
        "keys[0]: write one of key and key_sha256 (fairlead key new makes both)",
    ),
    ("keys: [{name: a, key_sha256: abc}]", 'keys[0].key_sha256: expected 64 hexadecimal digits, not "abc"'),
    ("keys: [{name: a, key: ''}]", "keys[0].key: expected a text that is not empty"),
    ("keys: [{name: a, key: x}, {name: b, key: x}]", "keys[1]: is the same key as keys[0]"),
    ("keys: [{name: a, key: x}, {name: a, key: y}]", 'keys[1]: the name "a" belongs to keys[0] already'),
    ("models: [{name: a}, {name: b}, {name: a}]", 'models[2]: the name "a" belongs to models[0] already'),
    ("groups: {fast: []}", "groups.fast: list one model at least"),
    ("groups: {fast: [m, fast]}", "groups.fast[1]: stands for itself; leave it out"),
    ("groups: {auto: [m]}", "groups.auto: auto is the name by which callers leave the choice to the router"),
    ("groups: {g: [m]}\naliases: {g: m}", "aliases.g: is the name of a group already"),
    ("groups: {fast: [m, nn]}", 'groups.fast[1]: no node serves "nn" and models does not declare it'),
    ("aliases: {gpt: xyz}", 'aliases.gpt: no node serves "xyz" and models does not declare it'),
    ("fallbacks: {xyz: [m]}", 'fallbacks.xyz: no node serves "xyz" and models does not declare it'),
    ("fallbacks: {m: [xyz]}", 'fallbacks.m[0]: no node serves "xyz" and models does not declare it'),
    ("cascades: [{name: x, models: [m]}]", "cascades[0].models: list two models at least, from cheap to dear"),
    (
        "cascades: [{name: x, models: [m, n, m]}]",
        'cascades[0].models[2]: the model "m" stands here twice; leave one of them out',
    ),
    (
        "cascades: [{name: x, models: [m, n]}]\naliases: {best: x}",
        'aliases.best: "x" is a cascade, and cannot be used here; name a model instead',
    ),
    ("cascades: [{name: x, models: [m, n]}]\ngroups: {g: [m, x]}", 'groups.g[1]: "x" is a cascade, and cannot be'),
    ("cascades: [{name: x, models: [m, n]}]\nfallbacks: {m: [x]}", 'fallbacks.m[0]: "x" is a cascade, and cannot be'),
    ("cascades: [{name: x, models: [m, n]}]\nfallbacks: {x: [m]}", 'fallbacks.x: "x" is a cascade, and cannot be'),
    (
        "models: [{name: qwen-coder}]\nfallbacks: {m: [qwen-codr]}",
        'fallbacks.m[0]: no node serves "qwen-codr" and models does not declare it; did you mean "qwen-coder"?',
    ),
]


@pytest.mark.parametrize(("text", "message"), BESIDE_A_NODE)
def test_wrong_lines_beside_a_right_node(text: str, message: str) -> None:
    lines = complaint(NODE + text + "\n").splitlines()
    line = 2 + text.count("\n")
    assert any(said.startswith(f"f.yaml:{line}: {message}") for said in lines), lines


NODES = [
    ("{}", 'nodes[0]: the key "url" is missing'),
    ("{url: 'ftp://a'}", "nodes[0].url: expected an address such as http://127.0.0.1:8000/v1 (http or https)"),
    ("{url: 'a:80'}", "nodes[0].url: expected an address such as http://127.0.0.1:8000/v1 (http or https)"),
    ("{url: 'http://'}", "nodes[0].url: expected an address such as http://127.0.0.1:8000/v1"),
    ("{url: 'http://[::1'}", "nodes[0].url: expected an address such as http://127.0.0.1:8000/v1"),
    ("{url: 'http://a b'}", "nodes[0].url: expected an address such as http://127.0.0.1:8000/v1, without spaces in it"),
    ("{url: 'http://a:99999'}", "nodes[0].url: expected a port from 1 to 65535"),
    ("{url: 'http://a:x'}", "nodes[0].url: expected a port from 1 to 65535"),
    ("{url: 'http://a:0'}", "nodes[0].url: expected a port from 1 to 65535"),
    ("{url: 'http://u:p@a'}", "nodes[0].url: expected no user name or password in the address: use api_key or headers"),
    (
        "{url: 'http://a/v1?key=1'}",
        "nodes[0].url: expected an address without ? and #: it is the base that paths are added to",
    ),
    (
        "{url: 'http://a', kind: olama}",
        'nodes[0].kind: expected openai, ollama, command or simulated, not "olama"; did you mean "ollama"?',
    ),
    ("{url: 'http://a', weight: 0}", 'nodes[0].weight: expected a number above 0, not "0"'),
    ("{url: 'http://a', weight: heavy}", 'nodes[0].weight: expected a number above 0, not "heavy"'),
    (
        "{url: 'http://a', models: []}",
        "nodes[0].models: list one model at least, or leave the key out and the node is asked",
    ),
    ("{url: 'http://a', models: [{as: x}]}", 'nodes[0].models[0]: the key "name" is missing'),
    (
        "{url: 'http://a', capacity: {vram_gb: 8}}",
        'unknown key "vram_gb" in nodes[0].capacity; known here: slots, tokens,',
    ),
    ("{url: 'http://a', concurrency: 2}", "nodes[0].concurrency: is for commands; write capacity: {slots: ...} here"),
    (
        "{command: [a], concurrency: 2, capacity: {slots: 3}}",
        "nodes[0].concurrency: says the same as capacity.slots; write one of them",
    ),
    ("{kind: command}", "nodes[0].command: a node of kind command needs the program and its arguments as a list"),
    ("{command: claude}", 'nodes[0].command: expected a list, not "claude"'),
    ("{command: [a], url: 'http://a'}", "nodes[0].url: a node of kind command has no address; leave it out"),
    (
        "{kind: openai, url: 'http://a', command: [a]}",
        "nodes[0].command: only a node of kind command runs a program, and this one is of kind openai",
    ),
    (
        "{url: 'http://a', api_key: 'a b'}",
        "nodes[0].api_key: expected a key without spaces, line ends or characters beyond",
    ),
    ("{url: 'http://a', api_key: [x]}", "nodes[0].api_key: expected a text, but a list stands here"),
    ("{url: 'http://a', headers: {'a b': x}}", "nodes[0].headers.a b: is no name of a header"),
    ("{url: 'http://a', headers: {Host: x}}", "nodes[0].headers.Host: is set by the connection itself; leave it out"),
    (
        '{url: "http://a", headers: {X-A: "a\\r\\nb"}}',
        "nodes[0].headers.X-A: expected a value without line ends or characters beyond Latin-1",
    ),
    ("{url: 'http://a:1'}\n- {url: 'http://a:1'}", 'nodes[1]: the name "a:1" belongs to nodes[0] already'),
]


@pytest.mark.parametrize(("node", "message"), NODES)
def test_wrong_nodes(node: str, message: str) -> None:
    lines = complaint(f"nodes:\n- {node}\n").splitlines()
    line = 2 + node.count("\n")
    assert any(said.startswith(f"f.yaml:{line}: {message}") for said in lines), lines


def test_all_problems_are_told_together_in_the_order_of_the_file() -> None:
    text = """\
strateggy: hybrid
nodes:
  - name: a
    url: http://a:1
    weight: none
  - name: b
    url: http://b:99999
    kind: olama
  - name: c
    url: http://c:99999
  - name: c
    url: http://d
models:
  - name: m
    pirce: 1
    context_tokens: many
groups: {fast: [whatever]}
"""
    assert complaint(text).splitlines() == [
        'f.yaml:1: unknown key "strateggy"; did you mean "strategy"?',
        'f.yaml:5: nodes[0].weight: expected a number above 0, not "none"',
        'f.yaml:8: nodes[1].kind: expected openai, ollama, command or simulated, not "olama"; did you mean "ollama"?',
        "f.yaml:10: nodes[2].url: expected a port from 1 to 65535",
        'f.yaml:11: nodes[3]: the name "c" belongs to nodes[2] already; give one of them another name',
        'f.yaml:15: unknown key "pirce" in models[0]; did you mean "price"?',
        'f.yaml:16: models[0].context_tokens: expected a whole number above 0, not "many"',
    ]


def test_members_are_not_looked_up_where_a_node_will_be_asked() -> None:
    loads("nodes: [{url: http://a}]\ngroups: {fast: [whatever]}\naliases: {x: y}\nfallbacks: {p: [q]}")


def test_values_that_do_not_fit_together_hide_no_other_problem() -> None:
    text = """\
seed: many
nodes: [{url: 'http://a'}, {url: 'http://a'}]
routing:
  explore_max: 0.2
  explore_min: 0.5
  tolerance: 7
cascades:
- {name: x, models: [m]}
"""
    said = complaint(text.replace("  tolerance: 7\n", "")).splitlines()
    assert [line.split(": ")[0] for line in said] == ["f.yaml:1", "f.yaml:2", "f.yaml:5", "f.yaml:7"]
    assert complaint(text).splitlines()[2].startswith("f.yaml:6: routing.tolerance: expected a number from 0 to 1")


@pytest.mark.parametrize("build", [lambda: Weights(capability=-1), lambda: RoutingConfig(explore_min=0.5)])
def test_built_in_python_they_raise_and_name_their_place(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=r"^routing\.(weights|explore_min) must "):
        build()


def test_a_cascade_is_told_from_a_model_where_a_node_will_be_asked() -> None:
    text = "nodes: [{url: 'http://a'}]\ncascades: [{name: x, models: [m, n]}]\naliases: {a: x}\n"
    assert complaint(text) == 'f.yaml:3: aliases.a: "x" is a cascade, and cannot be used here; name a model instead'


def test_who_loads_may_look_further_and_its_findings_stand_among_the_others() -> None:
    def more(config: Config) -> Iterator[Finding]:
        yield ("cascades", 0, "name"), (Foreign(f"cannot have {config.cascades[0].name} of hidden-word"),)

    text = NODE + "strategy: ${WORD}\ncascades:\n- {name: a, models: 3}\n- name: b\n  models: [m, n]\nseed: x\n"
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml", {"WORD": "hidden-word"}, more)
    assert str(caught.value).splitlines() == [
        'f.yaml:4: cascades[0].models: expected a list, not "3"',
        "f.yaml:5: cascades[1].name: cannot have b of ***",
        'f.yaml:7: seed: expected a whole number, not "x"',
    ]


def test_deep_nesting_is_no_crash() -> None:
    assert complaint("a: " + "[" * 200_000).startswith("f.yaml:1: cannot be read as YAML")


def test_what_concerns_capacity_is_told_with_its_place() -> None:
    text = """\
nodes:
- {url: 'http://a:1', capacity: {slots: -1, tokens: 0}}
keys:
- {name: k, key: abc, share: 0}
queue: {max_waiting: -1, max_wait_s: {normal: 0}}
load_balancer: {max_node_utilization: 1.5}
scaling: {min_nodes: 5, max_nodes: 2, actuator: command}
load_measure: guesses
"""
    assert complaint(text).splitlines() == [
        'f.yaml:2: nodes[0].capacity.slots: expected a whole number above 0, not "-1"',
        'f.yaml:2: nodes[0].capacity.tokens: expected a whole number above 0, not "0"',
        'f.yaml:4: keys[0].share: expected a number above 0, not "0"',
        'f.yaml:5: queue.max_waiting: expected a whole number, 0 or more, not "-1"',
        'f.yaml:5: queue.max_wait_s.normal: expected a number above 0, not "0"',
        'f.yaml:6: load_balancer.max_node_utilization: expected a number above 0, 1 at most, not "1.5"',
        "f.yaml:7: scaling.min_nodes: must not be above max_nodes (2)",
        "f.yaml:7: scaling.command: the actuator command needs the program and its arguments as a list",
        'f.yaml:8: load_measure: expected requests, tokens, latency or polled, not "guesses"',
    ]


def test_a_priority_that_is_none_is_told() -> None:
    text = "nodes: [{url: 'http://a:1'}]\nkeys: [{name: k, key: abc, priority: urgent, max_priority: 12}]\n"
    said = complaint(text).splitlines()
    assert [line.split(": ")[1] for line in said] == ["keys[0].priority", "keys[0].max_priority"]
    assert all("interactive, normal, batch" in line for line in said)
