"""Draws: the same for the same task, independent for others, even over their range."""

import subprocess
import sys

import hypothesis.strategies as st
from hypothesis import given

from fairlead.rng import Draw, fresh_prefix, fresh_secret, key_of, mix64

WORDS = st.integers(0, 2**64 - 1)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(-9, 9))
def test_the_same_attempt_meets_the_same_dice(seed: int, key: int, attempt: int) -> None:
    one, two = Draw(seed, key, attempt), Draw(seed, key, attempt)
    assert [one.bits() for _ in range(5)] == [two.bits() for _ in range(5)]
    assert [Draw(seed, key, attempt + 1).bits()] != [Draw(seed, key, attempt).bits()]


@given(WORDS, st.integers(1, 10**9))
def test_draws_stay_in_range(key: int, n: int) -> None:
    draw = Draw(1, key)
    assert 0 <= draw.below(n) < n
    assert 0.0 <= draw.unit() < 1.0


@given(st.sets(WORDS, max_size=200))
def test_mixing_is_one_to_one(words: set[int]) -> None:
    assert len({mix64(word) for word in words}) == len(words)


def test_neighbours_share_nothing_and_the_range_is_even() -> None:
    counts = [0] * 16
    for key in range(16_000):
        counts[Draw(0, key).below(16)] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts)
    assert chi_square < 37.7, "15 degrees of freedom, one in a thousand"
    pairs = [Draw(0, key).unit() - Draw(0, key + 1).unit() for key in range(4000)]
    assert abs(sum(pairs)) / 4000 < 0.02


def test_keys_of_text_are_the_same_in_every_process() -> None:
    code = "from fairlead.rng import key_of; print(key_of('task-ä-1'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == key_of("task-ä-1")
    assert len({key_of(f"t{i}") for i in range(10_000)}) == 10_000


def test_what_must_not_be_guessed_is_fresh() -> None:
    assert len({fresh_prefix() for _ in range(50)}) > 45
    assert len(fresh_secret()) == 32
    assert fresh_secret() != fresh_secret()
