"""The best is found, and when it breaks it is left: shipped defaults, one task a second of virtual time."""

import random
from collections.abc import Iterator

import pytest

from fairlead import CircuitBreakerConfig, NoCandidateError, TaskRouter
from fairlead.capability.posterior import Posterior
from fairlead.rng import Draw
from fairlead.routing.exploration import NEWCOMER, Limits
from fairlead.routing.picker import plan
from fairlead.testing import ManualClock

pytestmark = pytest.mark.heavy

BEFORE = {"a": 0.9, "b": 0.7, "c": 0.7, "d": 0.5, "e": 0.5}
AFTER = BEFORE | {"a": 0.3}
BREAKS, ENDS, LAST, SHARE, SEEDS, MOST = 500, 700, 100, 85, 100, 95
PATIENT = CircuitBreakerConfig(failure_threshold=ENDS)
"""A breaker that stays out of it: five failures in a row are usual where three of ten fail."""


def routed(strategy: str, seed: int, breaker: CircuitBreakerConfig | None) -> Iterator[str]:
    """Yield whom each task went to; nobody while every circuit is open."""
    luck, clock = random.Random(seed), ManualClock()
    router = TaskRouter(strategy, seed=seed, clock=clock, circuit_breaker=breaker)
    for model in BEFORE:
        router.register_model(model)
    for number in range(ENDS):
        rates = BEFORE if number < BREAKS else AFTER
        clock.advance(1.0)
        try:
            model = router.route_task("a task")
        except NoCandidateError:
            yield "-"
            continue
        router.record_task_result(model, luck.random() < rates[model], 0.5)
        yield model


def looped(seed: int) -> Iterator[str]:
    """The same with bare posteriors and the routing engine's way of picking."""
    luck, names, limits = random.Random(seed), list(BEFORE), Limits()
    known = {name: Posterior(3600.0) for name in names}
    for number in range(ENDS):
        rates = BEFORE if number < BREAKS else AFTER
        for one in known.values():
            one.decay(float(number))
        order = sorted(names, key=lambda name: -known[name].mean)
        posteriors = [known[name] for name in order]
        scores = [one.mean for one in posteriors]
        hopes = [one.mean + one.doubt if one.weight >= 3 else NEWCOMER for one in posteriors]
        equals = scores.count(scores[0])
        place = plan(scores, hopes, equals, equals, 0.0, limits).pick(Draw(seed, number).unit())
        known[order[place]].add(float(luck.random() < rates[order[place]]), float(number))
        yield order[place]


def finds_the_best(picks: list[str]) -> bool:
    return picks[BREAKS - LAST : BREAKS].count("a") >= SHARE


def leaves_it(picks: list[str]) -> bool:
    return sum(pick in "bc" for pick in picks[-LAST:]) >= SHARE


@pytest.mark.parametrize("strategy", ["hybrid", "affinity", "performance"])
def test_the_best_is_found_and_left_when_it_breaks(strategy: str) -> None:
    runs = [list(routed(strategy, seed, None)) for seed in range(SEEDS)]
    assert sum(map(finds_the_best, runs)) >= MOST
    assert sum(map(leaves_it, runs)) >= MOST


@pytest.mark.parametrize("strategy", ["hybrid", "affinity", "performance"])
def test_it_stays_left_while_no_circuit_interferes(strategy: str) -> None:
    runs = [list(routed(strategy, seed, PATIENT)) for seed in range(SEEDS)]
    assert sum(map(finds_the_best, runs)) >= MOST
    assert sum(map(leaves_it, runs)) >= MOST


def test_bare_posteriors_do_as_well() -> None:
    runs = [list(looped(seed)) for seed in range(SEEDS)]
    assert sum(map(finds_the_best, runs)) >= MOST
    assert sum(map(leaves_it, runs)) >= MOST
