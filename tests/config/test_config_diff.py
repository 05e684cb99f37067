"""The difference of two configurations: complete, in plain words, and without any secret."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.config import (
    Capacity,
    Config,
    KeyConfig,
    Limits,
    LoadBalancerConfig,
    ModelConfig,
    NodeConfig,
    NodeTimeouts,
    Retries,
    RoutingConfig,
    Secret,
    ServedModel,
    Timeouts,
    loads,
)
from fairlead.config.diff import AFTER_RESTART, Applies, Verb, applicable, difference
from fairlead.domain import Price, TaskCategory

SECRET = "sk-Never7Show3This1"

names = st.sampled_from(["a", "b", "c", "d"])
amounts = st.sampled_from([1.0, 2.0, 2.5])
served = st.lists(names, min_size=1, max_size=3, unique=True).map(
    lambda models: tuple(ServedModel(name=model) for model in models)
)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeConfig:
    return NodeConfig(
        name=name,
        url=draw(st.sampled_from(["http://one:1/v1", "http://two:2/v1"])),
        models=draw(st.none() | served),
        api_key=draw(st.none() | st.just(Secret(SECRET)) | st.just(Secret(SECRET + "x"))),
        headers=draw(st.dictionaries(st.just("x-token"), st.sampled_from([Secret(SECRET), Secret("other")]))),
        weight=draw(amounts),
        region=draw(st.none() | names),
        capacity=draw(st.builds(Capacity, slots=st.none() | st.integers(1, 3))),
        timeouts=draw(st.builds(NodeTimeouts, total_s=st.none() | amounts)),
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    groups = st.dictionaries(names, st.lists(names, min_size=1, max_size=2).map(tuple))
    return Config(
        listen=draw(st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"])),
        nodes=tuple(draw(nodes(name)) for name in draw(st.lists(names, unique=True, max_size=3))),
        models=draw(
            st.lists(
                st.builds(ModelConfig, name=names, context_tokens=st.none() | st.integers(1, 2)),
                unique_by=lambda one: one.name,
                max_size=2,
            ).map(tuple)
        ),
        groups=draw(groups),
        fallbacks=draw(groups),
        aliases=draw(st.dictionaries(names, names)),
        strategy=draw(st.sampled_from(["hybrid", "random"])),
        retries=draw(st.builds(Retries, max_attempts=st.integers(1, 3))),
        keys=draw(
            st.lists(
                st.builds(KeyConfig, name=names, key=st.builds(Secret, st.just(SECRET)), share=amounts),
                unique_by=lambda one: one.name,
                max_size=2,
            ).map(tuple)
        ),
    )


@settings(max_examples=25)
@given(configs())
def test_there_is_no_difference_from_itself(config: Config) -> None:
    assert not difference(config, config)
    assert difference(config, config).lines() == ()


@settings(max_examples=25)
@given(configs(), configs())
def test_everything_but_the_order_is_told_and_no_secret_is(old: Config, new: Config) -> None:
    told = difference(old, new)
    assert bool(told) == (_sorted(old) != _sorted(new))
    assert len(set(told.lines())) == len(told.lines())
    assert SECRET not in repr(told)
    assert SECRET not in "".join(told.lines())


@settings(max_examples=25)
@given(configs(), configs())
def test_once_applied_nothing_is_left_but_what_needs_a_restart(old: Config, new: Config) -> None:
    left = difference(applicable(old, new), new)
    assert all(change.applies is Applies.RESTART for change in left.changes)
    wanted = [one for one in difference(old, new).changes if one.applies is Applies.RESTART and not one.subject]
    assert list(left.changes) == wanted


@settings(max_examples=25)
@given(configs(), configs())
def test_the_way_back_tells_the_opposite(old: Config, new: Config) -> None:
    there, back = difference(old, new), difference(new, old)
    assert {one.subject for one in there.changes if one.verb is Verb.ADDED} == {
        one.subject for one in back.changes if one.verb is Verb.REMOVED
    }


def _sorted(config: Config) -> Config:
    by_name = {
        key: tuple(sorted(getattr(config, key), key=lambda one: str(one.name))) for key in ("nodes", "models", "keys")
    }
    return msgspec.structs.replace(config, **by_name)


NODE = NodeConfig(name="gpu-1", url="http://gpu:8000/v1", models=(ServedModel(name="m"),))


def lines(old: Config, new: Config) -> tuple[str, ...]:
    return difference(old, new).lines()


def with_node(**more: object) -> Config:
    return Config(nodes=(msgspec.structs.replace(NODE, **more),))


def test_nodes_come_and_go() -> None:
    old = Config(nodes=(NODE, NodeConfig(name="old", url="http://old/v1")))
    new = Config(nodes=(NODE, NodeConfig(name="gpu-2", url="http://gpu-2/v1")))
    assert lines(old, new) == ("- node old", "+ node gpu-2")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"weight": 2.0}, "~ node gpu-1: weight 1 -> 2"),
        ({"capacity": Capacity(slots=4)}, "~ node gpu-1: capacity.slots none -> 4"),
        ({"timeouts": NodeTimeouts(total_s=9.0)}, "~ node gpu-1: timeouts.total_s none -> 9"),
        ({"poll": False}, "~ node gpu-1: poll true -> false"),
        (
            {"models": (ServedModel(name="m"), ServedModel(name="n", public="o"))},
            "~ node gpu-1: models [m] -> [m, n as o]",
        ),
        ({"models": None}, "~ node gpu-1: models [m] -> none"),
        ({"url": "http://gpu:9000/v1"}, "~ node gpu-1: url http://gpu:8000 -> http://gpu:9000"),
        ({"url": "http://gpu:8000/other-secret-path/v1"}, "~ node gpu-1: url changed"),
        ({"api_key": Secret(SECRET)}, "~ node gpu-1: api_key changed"),
        ({"headers": {"x-token": Secret(SECRET)}}, "~ node gpu-1: headers.x-token changed"),
        ({"region": f"with {SECRET}", "api_key": Secret(SECRET)}, "~ node gpu-1: region changed"),
        ({"region": "x" * 100}, "~ node gpu-1: region changed"),
        ({"command": ("run", SECRET)}, "~ node gpu-1: command changed"),
    ],
)
def test_what_changed_of_a_node_is_told(more: dict[str, object], line: str) -> None:
    assert line in lines(with_node(), with_node(**more))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"retries": Retries(max_attempts=4)}, "~ retries.max_attempts 3 -> 4"),
        ({"strategy": "random"}, "~ strategy hybrid -> random"),
        ({"timeouts": Timeouts(idle_s=2.5)}, "~ timeouts.idle_s 20 -> 2.5"),
        ({"routing": RoutingConfig(quality=0.75)}, "~ routing.quality 0.5 -> 0.75"),
        ({"limits": Limits(max_connections=5)}, "~ limits.max_connections 4096 -> 5"),
        ({"listen": "127.0.0.1:1"}, "! listen: needs a restart"),
        ({"seed": 2}, "! seed: needs a restart"),
        ({"load_balancer": LoadBalancerConfig(slow_start_s=1.0)}, "! load_balancer.slow_start_s: needs a restart"),
        ({"groups": {"fast": ("m", "n")}}, "+ group fast"),
        ({"aliases": {"gpt": "m"}}, "+ alias gpt"),
        ({"fallbacks": {"m": ("n",)}}, "+ fallback m"),
        ({"models": (ModelConfig(name="m"),)}, "+ model m"),
        ({"keys": (KeyConfig(name="ann", key=Secret(SECRET)),)}, "+ key ann"),
    ],
)
def test_what_changed_of_the_rest_is_told(more: dict[str, object], line: str) -> None:
    old = with_node()
    assert lines(old, msgspec.structs.replace(old, **more)) == (line,)


def test_groups_models_and_keys_change_part_by_part() -> None:
    old = Config(
        groups={"fast": ("m", "n")},
        models=(ModelConfig(name="m", price=Price(1.0, 2.0), skill={TaskCategory.CODING: 0.5}),),
        keys=(KeyConfig(name="ann", key=Secret(SECRET)),),
    )
    new = Config(
        groups={"fast": ("n",)},
        models=(ModelConfig(name="m", price=Price(1.0, 3.0), skill={TaskCategory.CODING: 0.75}),),
        keys=(KeyConfig(name="ann", key=Secret(SECRET + "y"), share=2.0),),
    )
    assert lines(old, new) == (
        "~ model m: price.output_usd_per_mtok 2 -> 3",
        "~ model m: skill.coding 0.5 -> 0.75",
        "~ group fast: [m, n] -> [n]",
        "~ key ann: key changed",
        "! key ann: share: needs a restart",
    )


def test_every_setting_that_waits_for_a_restart_is_a_key() -> None:
    assert set(AFTER_RESTART) <= set(Config.__struct_fields__)


def test_two_readings_of_one_file_do_not_differ(fleet_file: object) -> None:
    text = fleet_file.read_text()  # type: ignore[attr-defined]
    assert not difference(loads(text, env={}), loads(text, env={}))
