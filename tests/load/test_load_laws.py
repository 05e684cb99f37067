"""Laws stated once, and run on every measure with every chooser."""

from collections import Counter
from collections.abc import Callable, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from load_shared import Busy, slow

from fairlead.load import (
    LoadMeasure,
    Measure,
    Report,
    in_proportion,
    least,
    measure_of,
    power_of_two,
    rendezvous,
    with_room,
)
from fairlead.rng import Draw

NOW_S = 20.0
Chooser = Callable[[Sequence[Busy], Measure[Busy], Draw], int]
CHOOSERS: dict[str, Chooser] = {
    "least": least,
    "power_of_two": power_of_two,
    "in_proportion": in_proportion,
    "rendezvous": rendezvous,
}
KEYS = st.integers(0, 2**40)
every = pytest.mark.parametrize(("kind", "chooser"), [(kind, name) for kind in LoadMeasure for name in CHOOSERS])
law = settings(max_examples=40, derandomize=True, deadline=None)


@st.composite
def fleets(draw: st.DrawFn, slots: bool = False) -> list[Busy]:
    def one(order: int) -> Busy:
        return Busy(
            order,
            in_flight=draw(st.integers(0, 6)),
            slots=draw(st.sampled_from([1, 2, 4, None])) if slots else None,
            tokens=draw(st.integers(0, 5000)),
            worth=draw(st.sampled_from([0.5, 1.0, 2.0])),
            latency=slow(draw(st.sampled_from([0.1, 1.0, 5.0])), draw(st.sampled_from([0.0, 15.0, 19.0]))),
            report=draw(st.sampled_from([None, Report(0.0, 18.0), Report(7.0, 19.5), Report(3.0, 2.0)])),
        )

    fleet = [one(order) for order in range(draw(st.integers(2, 8)))]
    fleet[0].report = fleet[0].report or Report(1.0, 19.0)  # something is fresh
    return fleet


def bound(kind: LoadMeasure, fleet: Sequence[Busy], now_s: float = NOW_S) -> Measure[Busy]:
    measure = measure_of(kind, fleet, now_s)
    assert measure is not None
    return with_room(measure)


def chosen(kind: LoadMeasure, chooser: str, fleet: Sequence[Busy], key: int) -> Busy:
    return fleet[CHOOSERS[chooser](fleet, bound(kind, fleet), Draw(5, key))]


@every
@law
@given(fleet=fleets(slots=True), key=KEYS)
def test_a_full_one_is_never_chosen_while_another_has_room(
    kind: LoadMeasure, chooser: str, fleet: list[Busy], key: int
) -> None:
    picked = chosen(kind, chooser, fleet, key)
    assert not picked.is_full or all(one.is_full for one in fleet)


@every
@law
@given(fleet=fleets(), key=KEYS, more=st.integers(1, 5))
def test_who_is_not_chosen_is_not_chosen_for_being_busier(
    kind: LoadMeasure, chooser: str, fleet: list[Busy], key: int, more: int
) -> None:
    picked = chosen(kind, chooser, fleet, key)
    for one in fleet:
        if one is picked:
            continue
        one.in_flight += more
        one.tokens += 1000 * more
        if chooser == "in_proportion":  # its shares all move: it is the chance that does not rise
            measure = bound(kind, fleet)
            after = 1 / measure(one) / sum(1 / measure(each) for each in fleet)
            one.in_flight -= more
            one.tokens -= 1000 * more
            before = 1 / measure(one) / sum(1 / measure(each) for each in fleet)
            assert after <= before + 1e-12
        else:
            assert chosen(kind, chooser, fleet, key) is not one
            one.in_flight -= more
            one.tokens -= 1000 * more


@pytest.mark.parametrize("kind", LoadMeasure)
@law
@given(fleet=fleets(), key=KEYS, data=st.data())
def test_the_order_makes_no_difference(kind: LoadMeasure, fleet: list[Busy], key: int, data: st.DataObject) -> None:
    """Exactly for rendezvous; for least up to the draw among equals."""
    shuffled = data.draw(st.permutations(fleet))
    assert chosen(kind, "rendezvous", fleet, key) is chosen(kind, "rendezvous", shuffled, key)
    measure, other = bound(kind, fleet), bound(kind, shuffled)
    for one in fleet:
        assert measure(one) == pytest.approx(other(one), rel=1e-9)
    smallest = measure(chosen(kind, "least", fleet, key))
    assert smallest == pytest.approx(other(chosen(kind, "least", shuffled, key)), rel=1e-9)


@every
@pytest.mark.parametrize("is_full", [False, True])
def test_equals_are_chosen_equally_often(kind: LoadMeasure, chooser: str, is_full: bool) -> None:
    fleet = [Busy(i, 2, slots=2 if is_full else None, latency=slow(1.0), report=Report(1.0, 19.0)) for i in range(4)]
    counts = Counter(chosen(kind, chooser, fleet, key).order for key in range(2000))
    assert all(400 < counts[i] < 600 for i in range(4)), counts


@every
def test_one_alone_is_chosen(kind: LoadMeasure, chooser: str) -> None:
    only = Busy(0, 3, latency=slow(1.0, 19.0), report=Report(1.0, 19.0))
    assert chosen(kind, chooser, [only], 1) is only


@every
def test_a_node_of_twice_the_weight_takes_more(kind: LoadMeasure, chooser: str) -> None:
    fleet = [Busy(i, 3, worth=1.0 + i, tokens=100, latency=slow(1.0, 19.0), report=Report(1.0, 19.0)) for i in range(2)]
    counts = Counter(chosen(kind, chooser, fleet, key).order for key in range(1000))
    assert counts[1] > 1.7 * counts[0], counts


def test_rendezvous_keeps_all_but_the_keys_of_the_one_that_left() -> None:
    fleet = [Busy(i) for i in range(6)]
    measure = bound(LoadMeasure.REQUESTS, fleet)
    for key in range(300):
        before = fleet[rendezvous(fleet, measure, Draw(5, key))]
        left = [one for one in fleet if one.order != 2]
        after = left[rendezvous(left, measure, Draw(5, key))]
        assert after is before or before.order == 2


# -- what each measure sees


def test_tokens_tell_long_tasks_from_short_ones() -> None:
    fleet = [Busy(0, in_flight=1, tokens=90_000), Busy(1, in_flight=3, tokens=600)]
    assert chosen(LoadMeasure.TOKENS, "least", fleet, 1).order == 1
    assert chosen(LoadMeasure.REQUESTS, "least", fleet, 1).order == 0


def test_latency_avoids_what_just_got_slow() -> None:
    fleet = [Busy(0, latency=slow(6.0, NOW_S)), Busy(1, in_flight=2, latency=slow(0.5, NOW_S))]
    assert chosen(LoadMeasure.LATENCY, "least", fleet, 1).order == 1


def test_a_report_shows_what_others_sent() -> None:
    fleet = [Busy(0, report=Report(9.0, NOW_S)), Busy(1, in_flight=3, report=Report(0.0, NOW_S))]
    assert chosen(LoadMeasure.POLLED, "least", fleet, 1).order == 1


@pytest.mark.parametrize("kind", [LoadMeasure.LATENCY, LoadMeasure.POLLED])
@law
@given(fleet=fleets(), age_s=st.floats(0, 600))
def test_a_signal_counts_less_the_older_it_is_and_in_the_end_nothing(
    kind: LoadMeasure, fleet: list[Busy], age_s: float
) -> None:
    local = [(one.in_flight + 1) / one.worth for one in fleet]

    def off(now_s: float) -> float | None:
        measure = measure_of(kind, fleet, now_s)
        if measure is None:
            return None
        return max(abs(measure(one) - load) / load for one, load in zip(fleet, local, strict=True))

    assert off(NOW_S + 1000.0) is None, "then the choice is the better of two by local counts"
    if kind is LoadMeasure.POLLED:
        early, late = off(NOW_S), off(NOW_S + age_s)
        assert early is not None
        assert late is None or late <= early + 1e-9
