"""Prices: what is held pulls, waiting pushes, and a promise that is not kept counts less."""

import pytest
from load_shared import Busy

from fairlead.load import PrefixAffinity, PrefixConfig
from fairlead.load.pace import Lately, Pace

PREFIX = tuple(range(100, 110))
TOKENS = 5_000


def fleet(n: int = 3) -> list[Busy]:
    return [Busy(i) for i in range(n)]


def prices(affinity: PrefixAffinity, nodes: list[Busy], now_s: float = 0.0) -> list[float]:
    return affinity.prices(len(PREFIX), TOKENS, affinity.index.held(PREFIX), nodes, now_s)


def test_the_node_that_holds_the_prompt_is_the_cheapest_until_the_wait_there_costs_more() -> None:
    affinity, nodes = PrefixAffinity(), fleet()
    assert affinity.sent(PREFIX, TOKENS, nodes[1], 0, 0.0) == 0
    price = prices(affinity, nodes, 60.0)
    assert price.index(min(price)) == 1
    crossed = False
    for waiting in range(100):
        nodes[1].in_flight = waiting
        price = prices(affinity, nodes, 60.0)
        is_kept = price.index(min(price)) == 1
        assert not (crossed and is_kept), "it is left once and for all as the wait grows"
        crossed = not is_kept
    assert crossed


def test_work_given_lately_pushes_new_conversations_away_though_nothing_is_in_flight() -> None:
    affinity, nodes = PrefixAffinity(), fleet()
    affinity.sent((1, 2, 3), TOKENS, nodes[0], 0, 0.0)
    assert prices(affinity, nodes, 1.0)[0] > prices(affinity, nodes, 1.0)[1]
    assert prices(affinity, nodes, 2000.0)[0] == pytest.approx(prices(affinity, nodes, 2000.0)[1])


def test_a_heavy_node_waits_less_for_the_same() -> None:
    affinity, nodes = PrefixAffinity(), fleet(2)
    nodes[1].worth = 4.0
    for node in nodes:
        node.in_flight = 8
    price = prices(affinity, nodes)
    assert price[1] < price[0]


def test_promises_that_are_not_kept_count_less_and_that_shows() -> None:
    affinity, nodes = PrefixAffinity(), fleet(2)
    holder = nodes[0].holder
    affinity.sent(PREFIX, TOKENS, nodes[0], 0, 0.0)
    before = prices(affinity, nodes, 600.0)[0]
    for _ in range(20):
        affinity.record_hit(holder, 0, TOKENS)
    stats = affinity.stats()[holder]
    assert (stats.blocks, stats.promised_tokens, stats.found_tokens) == (10, 20 * TOKENS, 0)
    assert stats.trust < 0.1
    assert prices(affinity, nodes, 600.0)[0] > before
    for _ in range(400):
        affinity.record_hit(holder, TOKENS, TOKENS)
    assert affinity.stats()[holder].trust > 0.95, "and a node that keeps them again is believed again"


def test_what_a_node_finds_beyond_the_promise_is_no_merit() -> None:
    affinity, nodes = PrefixAffinity(), fleet(1)
    affinity.record_hit(nodes[0].holder, 9_999, 0)
    affinity.record_hit(nodes[0].holder, 9_999, 10)
    assert affinity.stats()[nodes[0].holder].found_tokens == 10
    assert affinity.stats()[nodes[0].holder].trust == 1.0


def test_a_node_of_known_memory_is_believed_to_hold_no_more() -> None:
    affinity, node = PrefixAffinity(), Busy(0, kv_tokens=TOKENS // 2)
    affinity.sent(PREFIX, TOKENS, node, 0, 0.0)
    assert affinity.index.held(PREFIX) == {node.holder: 5}


def test_forgetting() -> None:
    affinity, nodes = PrefixAffinity(), fleet(2)
    for node in nodes:
        affinity.sent(PREFIX, TOKENS, node, 0, 0.0)
        affinity.record_hit(node.holder, 0, TOKENS)
    affinity.forget_node("n0")
    assert list(affinity.stats()) == [nodes[1].holder]
    affinity.forget()
    assert affinity.stats() == {}
    assert affinity.index.held(PREFIX) == {}


def test_tokens_are_estimated_where_nobody_said() -> None:
    affinity = PrefixAffinity(PrefixConfig(block_bytes=1024))
    assert affinity.tokens_of(PREFIX, 0) == 2560
    assert affinity.tokens_of(PREFIX, 77) == 77


@pytest.mark.parametrize("first", [100.0, 2_000.0, 1e6])
def test_the_pace_is_learnt_in_spite_of_waiting(first: float) -> None:
    """One prompt in two waits, up to ten times as long as it is read."""
    pace = Pace(first)
    for i in range(600):
        waited = 0.0 if i % 2 else (i % 10) * 0.1
        pace.observe(1_000.0, 0.1 + waited)
    assert 5_000 < pace.tokens_per_s < 12_000
    before = pace.tokens_per_s
    pace.observe(10.0, 5.0)
    pace.observe(1_000.0, 0.0)
    assert pace.tokens_per_s == before


def test_work_lately_fades_and_survives_long_times() -> None:
    lately, who = Lately(), ("m", "a")
    for i in range(100_000):
        lately.add(who, 1.0, i * 1.0)
    rate = lately.sums[who] * lately.per_sum(99_999.0)
    assert rate == pytest.approx(1.0, rel=0.02)
    assert lately.sums[who] * lately.per_sum(99_999.0 + 60.0) == pytest.approx(rate / 2.718, rel=0.01)
    lately.drop_node("a")
    assert not lately.sums


def test_in_a_spike_it_counts_less_that_a_node_holds_a_prompt() -> None:
    affinity, nodes = PrefixAffinity(), fleet(2)
    affinity.sent(PREFIX, TOKENS, nodes[0], 0, 0.0)
    usual = prices(affinity, nodes, 600.0)
    affinity.worth = 0.25
    spread = prices(affinity, nodes, 600.0)
    assert usual[0] < spread[0] < usual[1] == spread[1]
