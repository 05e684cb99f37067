"""What is left of a configuration for a drill: its shape, and nothing that leads anywhere."""

import pytest

from fairlead.config import Config, loads
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.drill import BUILT_IN, scenes_of, shape_of
from fairlead.errors import ConfigError
from fairlead.testing.answers import Continues
from fairlead.testing.faults import FAULTS

FLEET = """\
listen: 0.0.0.0:8400
unix_socket: /run/fairlead.sock
strategy: round_robin
rescue: any_model
nodes:
  - {name: far, url: https://api.example.org/v1, api_key: secret-1, headers: {x-token: secret-2}, models: [big, small],
     weight: 3, timeouts: {total_s: 60}, continuation: prefix}
  - {name: near, url: http://10.0.0.5:11434, models: [{name: "small:7b", as: small}], continuation: probe}
  - {name: agent, command: [/usr/bin/agent, --token, secret-3]}
models:
  - {name: big, context_tokens: 8192, timeouts: {first_token_s: 60}}
groups: {any: [big, small]}
timeouts: {connect_s: 1, first_token_s: 20, idle_s: 10, total_s: 40}
state: {path: /var/lib/state.db}
keys: [{name: alice, key: secret-4}]
scaling: {actuator: command, command: [/usr/bin/scale]}
"""


def test_nothing_leads_anywhere_any_more() -> None:
    shape = shape_of(loads(FLEET))
    config = shape.config
    assert config.listen == "127.0.0.1:0"
    assert (config.unix_socket, config.keys, config.cascades, config.state.enabled) == (None, (), (), False)
    assert config.scaling.actuator.value == "none"
    assert not config.reload
    for node in config.nodes:
        assert node.url == f"http://127.0.0.1:1{'' if node.kind.value == 'ollama' else '/v1'}"
        assert (node.api_key, node.headers, node.command, node.poll) == (None, {}, None, False)
    assert "secret" not in repr(config)


def test_what_decides_stays() -> None:
    config = shape_of(loads(FLEET)).config
    far, near, agent = config.nodes
    assert (config.strategy, config.rescue) == ("round_robin", Rescue.ANY_MODEL)
    assert (far.name, far.weight, far.continuation) == ("far", 3.0, Continuation.PREFIX)
    assert [(model.name, model.public) for model in near.models or ()] == [("small:7b", "small")]
    assert near.kind.value == "ollama"
    assert near.continuation is Continuation.TRAILING, "a probe would ask more than the caller"
    assert [model.public for model in agent.models or ()] == ["agent"]
    assert config.models[0].context_tokens == 8192


def test_limits_shrink_in_proportion_and_within_bounds() -> None:
    config = shape_of(loads(FLEET)).config
    limits = config.timeouts
    assert (limits.first_token_s, limits.total_s) == pytest.approx((0.4, 0.8))
    assert limits.idle_s == pytest.approx(0.25), "not less than a busy machine needs"
    assert config.nodes[0].timeouts.total_s == pytest.approx(1.2)
    assert config.nodes[0].timeouts.idle_s is None
    assert config.models[0].timeouts.first_token_s == pytest.approx(1.2)
    assert shape_of(BUILT_IN).config.timeouts.total_s == 3.0, "nor more than anybody wants to wait"


def test_the_name_with_the_most_nodes_is_asked_for() -> None:
    shape = shape_of(loads(FLEET))
    assert (shape.model, shape.nodes) == ("small", ("far", "near"))
    alone = shape_of(loads("nodes: [{url: 'http://a', name: a, models: [m]}, {url: 'http://b', name: b, models: [n]}]"))
    assert (alone.model, alone.nodes) == ("m", ("a",))
    grouped = "nodes: [{url: 'http://a', name: a, models: [m]}, {url: 'http://b', name: b, models: [n]}]\n"
    assert shape_of(loads(grouped + "groups: {g: [m, n]}")).model == "g"


def test_a_node_that_would_be_asked_for_its_models_has_those_that_are_named_elsewhere() -> None:
    asked = shape_of(loads("nodes: [{url: 'http://a'}, {url: 'http://b'}]\nmodels: [{name: m}]"))
    assert (asked.model, len(asked.nodes)) == ("m", 2)
    assert shape_of(loads("nodes: [{url: 'http://a'}]")).model == "model"


def test_no_node_no_drill() -> None:
    with pytest.raises(ConfigError, match="a drill needs a node"):
        shape_of(Config())


def test_scenes_are_those_that_can_happen() -> None:
    three = scenes_of(shape_of(BUILT_IN))
    assert {scene.fault.name for scene in three if scene.is_everyone} == {
        fault.name for fault in FAULTS.values() if "openai" in fault.dialects and fault.rescuer is Continues.IGNORES
    }
    assert any(not scene.is_everyone for scene in three)
    one = scenes_of(shape_of(loads("nodes: [{url: 'http://a', models: [m]}]")))
    assert all(scene.is_everyone for scene in one), "there is nobody else to be well"
    mixed = scenes_of(shape_of(loads(FLEET)))
    assert not any(scene.fault.name == "no_done" for scene in mixed), "Ollama has no such mark"
    assert any(scene.fault.name == "cut_rejected" for scene in mixed), "a node claims that it can go on"
    assert not any(scene.fault.name == "cut_rejected" for scene in three)
