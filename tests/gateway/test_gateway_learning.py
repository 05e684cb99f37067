"""Which model `auto` takes, what feedback teaches it, and that a restart forgets nothing."""

from pathlib import Path
from typing import Any

import pytest
from gateway_shared import CHAT, ask, chat, gateway, node, run

from fairlead.config import CascadeConfig, CheckConfig, ModelConfig, StateConfig
from fairlead.domain import Model, Node, Outcome, Price, Task, TaskCategory
from fairlead.engine.decision import describe
from fairlead.engine.fleet import Fleet
from fairlead.routing import make_strategy
from fairlead.routing.config import RoutingConfig
from fairlead.routing.engine import RoutingEngine
from fairlead.testing.provider import FakeProvider

CODE = "Write a function that parses a date"
CHEAP = ModelConfig(name="cheap", price=Price(0.1, 0.2), skill={TaskCategory.CODING: 0.6})
GOOD = ModelConfig(name="good", price=Price(10.0, 30.0), skill={TaskCategory.CODING: 0.95})
STEADY = RoutingConfig(explore_min=0.0, explore_max=0.0)


def auto(prompt: str = CODE) -> dict[str, Any]:
    return chat(model="auto", messages=[{"role": "user", "content": prompt}])


@pytest.mark.parametrize(("quality", "taken"), [("0", "cheap"), ("1", "good")])
def test_the_knob_goes_from_the_cheapest_to_the_best(quality: str, taken: str) -> None:
    async def main() -> None:
        async with (
            FakeProvider(models=("cheap",)) as one,
            FakeProvider(models=("good",)) as two,
            gateway(node(one), node(two, "b"), models=(CHEAP, GOOD), routing=STEADY) as running,
        ):
            for _ in range(5):
                answer = await ask(running, CHAT, auto(), headers={"x-fairlead-quality": quality})
                assert answer.headers["x-fairlead-model"] == taken

    run(main())


def test_a_decision_tells_how_the_models_were_ranked() -> None:
    async def main() -> None:
        async with (
            FakeProvider(models=("cheap",)) as one,
            FakeProvider(models=("good",)) as two,
            gateway(node(one), node(two, "b"), models=(CHEAP, GOOD), routing=STEADY) as running,
        ):
            answer = await ask(running, CHAT, auto(), headers={"x-fairlead-quality": "1"})
            told = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}", method="GET")
            decision = told.json["decision"]
            best, second = decision["models"]
            assert (best["model"], decision["runner_up"]) == ("good", "cheap")
            assert decision["margin"] == pytest.approx(best["score"] - second["score"], abs=1e-3)
            parts = best["factors"].values()
            assert best["score"] == pytest.approx(sum(one["weight"] * one["value"] for one in parts), abs=1e-3)
            assert decision["propensity"] == 1.0
            assert decision["explored"] is False

    run(main())


def test_feedback_moves_tasks_to_the_better_model() -> None:
    async def main() -> None:
        async with (
            FakeProvider(models=("one",)) as one,
            FakeProvider(models=("two",)) as two,
            gateway(node(one), node(two, "b"), routing=STEADY) as running,
        ):
            for _ in range(16):
                answer = await ask(running, CHAT, auto())
                score = 0.9 if answer.headers["x-fairlead-model"] == "two" else 0.1
                said = await ask(running, "/v1/feedback", {"id": answer.headers["x-fairlead-decision"], "score": score})
                assert said.status == 200
                assert said.json["learnt"]["category"] == "coding"
            taken = [(await ask(running, CHAT, auto())).headers["x-fairlead-model"] for _ in range(10)]
            assert taken == ["two"] * 10

    run(main())


def test_feedback_for_nobodys_decision_is_refused() -> None:
    async def main() -> None:
        async with FakeProvider() as one, gateway(node(one)) as running:
            said = await ask(running, "/v1/feedback", {"id": "made-up-1", "score": 0.5})
            assert said.status == 404
            assert "made-up-1" in said.json["error"]["message"]

    run(main())


def test_limits_that_contradict_each_other_are_both_named() -> None:
    async def main() -> None:
        async with (
            FakeProvider(models=("cheap",)) as one,
            FakeProvider(models=("good",)) as two,
            gateway(node(one), node(two, "b"), models=(CHEAP, GOOD)) as running,
        ):
            wishes = {"x-fairlead-min-quality": "0.9", "x-fairlead-max-cost-usd": "0.001"}
            answer = await ask(running, CHAT, auto() | {"max_tokens": 1000}, headers=wishes)
            message = answer.json["error"]["message"]
            assert answer.status == 400
            assert "quality" in message
            assert "cost" in message

    run(main())


def test_auto_may_take_a_cascade() -> None:
    sure = ModelConfig(name="cheap", price=Price(0.1, 0.2), skill={TaskCategory.CODING: 0.9})
    careful = CascadeConfig(name="careful", models=("cheap", "good"), check=CheckConfig(json=True))

    async def main() -> None:
        async with (
            FakeProvider(models=("cheap",)) as one,
            FakeProvider(models=("good",)) as two,
            gateway(node(one), node(two, "b"), models=(sure, GOOD), cascades=(careful,), routing=STEADY) as running,
        ):
            wishes = {"x-fairlead-quality": "0.8"}
            answer = await ask(running, CHAT, auto(), headers=wishes)
            assert answer.headers["x-fairlead-cascade"] == "careful 2/2"
            assert answer.headers["x-fairlead-model"] == "good"
            name = f"/v1/decisions/{answer.headers['x-fairlead-decision']}"
            told = await ask(running, name, method="GET")
            assert told.json["cascade"] == {"step": "careful 2/2", "not_taken_because": None}
            decision = told.json["decision"]
            assert decision["asked_for"] == "auto"
            assert decision["models"][0]["model"] == "careful", "it says why the cascade was chosen"
            assert (one.attempts, two.attempts) == (1, 1)

    run(main())


def test_what_was_learnt_is_there_after_a_restart(tmp_path: Path) -> None:
    state = StateConfig(path=str(tmp_path / "state.db"))

    async def main() -> None:
        async with FakeProvider(models=("one",)) as one, FakeProvider(models=("two",)) as two:
            nodes = (node(one), node(two, "b"))
            async with gateway(*nodes, routing=STEADY, state=state) as running:
                for _ in range(16):
                    answer = await ask(running, CHAT, auto())
                    decision = answer.headers["x-fairlead-decision"]
                    score = 0.9 if answer.headers["x-fairlead-model"] == "two" else 0.1
                    await ask(running, "/v1/feedback", {"id": decision, "score": score})
            async with gateway(*nodes, routing=STEADY, state=state) as running:
                taken = [(await ask(running, CHAT, auto())).headers["x-fairlead-model"] for _ in range(10)]
                assert taken == ["two"] * 10
                told = await ask(running, f"/v1/decisions/{decision}", method="GET")
                assert told.json["feedback"]["score"] == score
                weights = [one.evidence.weight for one in running.orchestrator.fleet.candidates()]
                assert sum(weights) == pytest.approx(10 + 16, rel=0.05)
                again = await ask(running, "/v1/feedback", {"id": decision, "score": 0.5, "replace": True})
                assert again.status == 200

    run(main())


def test_a_damaged_document_costs_only_itself(tmp_path: Path) -> None:
    from fairlead.persistence.store import StateStore

    state = StateConfig(path=str(tmp_path / "state.db"))
    with StateStore.open(Path(str(state.path)), state, print) as store:
        store.save("scorer", {"format": "of another world"})

    async def main() -> None:
        async with FakeProvider() as one, gateway(node(one), state=state) as running:
            assert (await ask(running, CHAT, chat())).status == 200

    run(main())
    with StateStore.open(Path(str(state.path)), state, print) as store:
        assert store.load("candidates")


def test_a_reset_is_kept_over_a_restart_too(tmp_path: Path) -> None:
    state = StateConfig(path=str(tmp_path / "state.db"))

    async def main() -> None:
        async with FakeProvider(models=("one",)) as one, FakeProvider(models=("two",)) as two:
            nodes = (node(one), node(two, "b"))
            async with gateway(*nodes, routing=STEADY, state=state) as running:
                for _ in range(8):
                    answer = await ask(running, CHAT, auto())
                    decision = answer.headers["x-fairlead-decision"]
                    await ask(running, "/v1/feedback", {"id": decision, "score": 0.1})
            async with gateway(*nodes, routing=STEADY, state=state) as running:
                assert (await ask(running, "/admin/reset", {})).status == 200
            async with gateway(*nodes, routing=STEADY, state=state) as running:
                fleet = running.orchestrator.fleet
                assert [candidate.evidence.weight for candidate in fleet.candidates()] == [0.0, 0.0]
                assert fleet.engine is not None
                assert fleet.engine.scorer.estimate("one", TaskCategory.CODING, None, 0.0).weight == 0.0

    run(main())


def test_a_refused_decision_says_who_was_ruled_out_and_why() -> None:
    async def main() -> None:
        async with (
            FakeProvider(models=("cheap",)) as one,
            FakeProvider(models=("good",)) as two,
            gateway(node(one), node(two, "b"), models=(CHEAP, GOOD)) as running,
        ):
            answer = await ask(running, CHAT, auto(), headers={"x-fairlead-min-quality": "0.99"})
            assert answer.status == 400
            name = f"/v1/decisions/{answer.headers['x-fairlead-decision']}"
            told = (await ask(running, name, method="GET")).json
            assert "min_quality 0.99" in told["error"]
            assert told["ruled_out"] == {"expected quality too low": 2}

    run(main())


def test_a_model_that_suddenly_fails_is_named_in_the_decisions_that_follow() -> None:
    clock_s = 1000.0
    engine = RoutingEngine(STEADY)
    fleet = Fleet(make_strategy("least_loaded"), engine=engine)
    for name, skill in (("one", 0.5), ("two", 0.9)):
        fleet.add(Model(name, skill={TaskCategory.CODING: skill}), Node(name), clock_s)
    for success in [True] * 60 + [False] * 20:
        clock_s += 1.0
        engine.record("two", Outcome(success, 0.5, TaskCategory.CODING), clock_s)
    decision = fleet.decide(Task("t", 1, TaskCategory.CODING), clock_s)
    anomalies: Any = describe(decision)["anomalies"]
    (told,) = anomalies
    assert (told["model"], told["kind"]) == ("two", "success")
    assert told["before"] > 0.9
    assert told["after"] < 0.5
