"""Names, rules, keys and engines of another configuration, and that the whole is as if built from it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_reload_shared import entry, names, serving_file, write
from gateway_shared import CHAT, ask, chat, run, until
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.config import Capacity, Config, ModelConfig, NodeConfig, NodeKind, NodeTimeouts, Retries, ServedModel
from fairlead.domain.rescue import Rescue
from fairlead.errors import ConfigError, FairleadError
from fairlead.gateway import RunningGateway
from fairlead.gateway.applying import Running, prepare
from fairlead.gateway.build import build_gateway
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.testing.provider import FakeProvider


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def test_names_rules_and_keys_are_those_of_the_new_file(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(models=("m", "n")) as provider:
            keys = [{"name": "ann", "key": "first-key", "admin": True}, {"name": "bob", "key": "bobs-key"}]
            write(path, entry(provider, "a"), groups={"fast": ["m"]}, fallbacks={"m": ["n"]}, keys=keys)
            async with serving_file(path) as (running, reloader):
                fleet = running.orchestrator.fleet
                as_ann, as_bob = ({"authorization": f"Bearer {key}"} for key in ("first-key", "bobs-key"))
                assert (await ask(running, CHAT, chat(model="fast"), headers=as_ann)).status == 200
                write(
                    path, entry(provider, "a"), groups={"good": ["n", "m"]}, aliases={"gpt": "good"},
                    cascades=[{"name": "both", "models": ["m", "n"]}], strategy="random", exploration=0,
                    retries={"max_attempts": 1}, keys=keys[1:], routing={"quality": 1, "weights": {"capability": 1}},
                    limits={"max_body_bytes": 2000}, detector="rules", rescue="none", allow_hosts=["gate"],
                )  # fmt: skip
                told = await reloader.reload()
                assert not any(line.startswith("!") for line in told.lines()), told.lines()
                assert dict(fleet.groups) == {"good": ("n", "m"), "gpt": ("n", "m"), "both": ("m", "n")}
                assert fleet.strategy.name == "random"
                assert fleet.engine is not None
                assert fleet.engine.config.quality == 1
                assert running.orchestrator.routing_settings.exploration == 0
                assert (await ask(running, CHAT, chat(), headers=as_ann)).status == 401
                for model in ("good", "gpt", "both", "auto"):
                    assert (await ask(running, CHAT, chat(model=model), headers=as_bob)).status == 200
                assert (await ask(running, CHAT, chat(model="fast"), headers=as_bob)).status == 404
                assert (await ask(running, CHAT, chat("x" * 3000), headers=as_bob)).status == 413
                assert (await ask(running, CHAT, chat(), headers=as_bob | {"host": "gate"})).status == 200

    run(main())


def test_what_the_engine_learnt_outlives_other_weights(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(models=("m", "n")) as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                for model in ("m", "n"):
                    answer = await ask(running, CHAT, chat(model=model))
                    said = {"id": answer.headers["x-fairlead-decision"], "score": 0.9}
                    assert (await ask(running, "/v1/feedback", said)).status == 200
                before = running.orchestrator.fleet.engine
                assert before is not None
                write(path, entry(provider, "a"), routing={"weights": {"capability": 1}})
                await reloader.reload()
                after = running.orchestrator.fleet.engine
                assert after is not None
                assert after is not before
                assert after.weights.capability == 1
                assert after.scorer is before.scorer
                assert after.snapshot() == before.snapshot() | {"weights": msgspec.to_builtins(after.weights)}

    run(main())


def test_what_is_done_about_trouble_goes_by_the_new_file(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                orchestrator = running.orchestrator
                assert [orchestrator.hedger.is_off] == [True]
                rules = {"rescue": "any_model", "hedging": {"enabled": True}, "degradation": {"begin_at": 0.9}}
                write(path, entry(provider, "a"), **rules)
                told = await reloader.reload()
                assert set(told.lines()) >= {"~ rescue same_model -> any_model", "~ hedging.enabled false -> true"}
                assert not any(line.startswith("!") for line in told.lines())
                assert orchestrator.rescue is Rescue.ANY_MODEL
                assert not orchestrator.hedger.is_off
                assert orchestrator.degrading.config.begin_at == 0.9
                write(path, entry(provider, "b"), degradation={"steps": ["nonsense"]})
                with pytest.raises(ConfigError, match="nonsense"):
                    await reloader.reload()
                assert orchestrator.degrading.config.begin_at == 0.9
                assert names(running) == {"a"}

    run(main())


def test_what_needs_a_restart_stays_as_it_is_and_is_told_again(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                for weight in (1, 2):
                    write(path, entry(provider, "a", weight=weight), listen="127.0.0.1:1", seed=7)
                    told = (await reloader.reload()).lines()
                    assert {"! listen: needs a restart", "! seed: needs a restart"} <= set(told)
                    assert (await ask(running, CHAT, chat())).status == 200
                assert running.orchestrator.fleet.nodes["a"].node.weight == 2
                assert running.orchestrator.fleet.settings.seed == 0

    run(main())


# -- the whole

NAMES = st.sampled_from(["a", "b", "c"])
MODELS = st.sampled_from(["m", "n", "o"])


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeConfig:
    own = draw(st.lists(MODELS, min_size=1, max_size=3, unique=True))
    return NodeConfig(
        name=name,
        url=draw(st.sampled_from(["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"])),
        kind=draw(st.sampled_from([NodeKind.OPENAI, NodeKind.OLLAMA])),
        models=tuple(ServedModel(name=draw(st.sampled_from([model, "own"])), public=model) for model in own),
        weight=draw(st.sampled_from([1.0, 2.0])),
        region=draw(st.none() | st.just("eu")),
        capacity=draw(st.builds(Capacity, slots=st.none() | st.integers(1, 3))),
        timeouts=draw(st.builds(NodeTimeouts, idle_s=st.none() | st.just(5.0), connect_s=st.none() | st.just(5.0))),
        poll=False,
        check=False,
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    groups = st.dictionaries(st.sampled_from(["x", "y"]), st.lists(MODELS, min_size=1, max_size=2).map(tuple))
    return Config(
        nodes=tuple(draw(nodes(name)) for name in draw(st.lists(NAMES, unique=True, min_size=1))),
        models=draw(
            st.lists(
                st.builds(ModelConfig, name=MODELS, context_tokens=st.none() | st.just(9)),
                unique_by=lambda one: one.name,
            ).map(tuple)
        ),
        groups=draw(groups),
        fallbacks=draw(groups),
        aliases=draw(st.dictionaries(st.just("z"), MODELS)),
        strategy=draw(st.sampled_from(["hybrid", "random"])),
        retries=draw(st.builds(Retries, max_attempts=st.integers(1, 3))),
        exploration=draw(st.sampled_from([0.0, 0.5])),
        pending_timeout_s=draw(st.sampled_from([600.0, 900.0])),
    )


def as_is(orchestrator: ModelOrchestrator) -> dict[str, Any]:
    """Return all that a configuration says of a fleet."""
    fleet = orchestrator.fleet
    targets = orchestrator.targets.items()
    return {
        "nodes": {name: (state.node, state.account.capacity, state.is_draining) for name, state in fleet.nodes.items()},
        "models": {
            name: {node: (one.model, one.node, one.weight) for node, one in by_node.items()}
            for name, by_node in fleet.models.items()
        },
        "served": {name: set(state.candidates) for name, state in fleet.nodes.items()},
        "lineups": {name: fleet.lineup(name).nodes for name in ("m", "n", "o", "x", "y", "z", "auto")},
        "groups": dict(fleet.groups),
        "fallbacks": dict(fleet._fallbacks),
        "targets": {name: (one.own_names, one.timeouts, one.by_model, one.backend._lines) for name, one in targets},  # type: ignore[attr-defined]
        "addresses": {name: (one.backend._pool._port, one.backend._pool._limits) for name, one in targets},  # type: ignore[attr-defined]
        "limited": fleet.is_limited,
        "settings": fleet.settings,
        "strategy": fleet.strategy.name,
        "exploration": orchestrator.routing_settings.exploration,
        "retries": orchestrator._policy,
        "timeouts": orchestrator.timeouts_of_calls,
    }


@settings(max_examples=40)
@given(configs(), configs())
def test_a_fleet_is_as_if_it_had_been_built_from_the_new_configuration(old: Config, new: Config) -> None:
    async def main() -> None:
        running, built = RunningGateway(old), build_gateway(new, {}, 0)[1]
        await running.prepare()
        orchestrator = running.orchestrator
        reloader = running._reloader
        assert reloader is not None
        reloader._put(new, {})
        await until(lambda: set(orchestrator.fleet.nodes) == {node.name for node in new.nodes})
        assert as_is(orchestrator) == as_is(built)
        await running.stop(0.0)
        await built.close()

    run(main())


def test_what_fails_on_the_way_leaves_everything_as_it_was(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                before = as_is(running.orchestrator)
                good = reloader.config
                node = msgspec.structs.replace(good.nodes[0], weight=5.0, name="b")
                new = msgspec.structs.replace(good, nodes=(node,), strategy="nonsense", groups={"x": ("m",)})
                assert running._watching is not None
                with pytest.raises(FairleadError, match="nonsense"):
                    prepare(Running(running.gateway, running.orchestrator, running._watching, 0), good, new, {}, {})
                assert as_is(running.orchestrator) == before
                assert names(running) == {"a"}

    run(main())
