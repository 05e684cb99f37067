"""Features: the same everywhere, bounded, of the stated form, and without the prompt in them."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.capability import features_of
from fairlead.capability.features import N_FEATURES, WORDS_NORM
from fairlead.capability.shape import N_SHAPE

QUESTION = "Which of these is prime?\nA. 4\nB. 6\nC. 7\nD. 9\nAnswer:"


@given(st.text(max_size=3000))
def test_indices_ascend_and_values_are_bounded_for_any_text(prompt: str) -> None:
    features = features_of(prompt)
    assert len(features.indices) == len(features.values) >= N_SHAPE
    assert all(a < b for a, b in zip(features.indices, features.indices[1:], strict=False))
    assert features.indices[0] >= 0
    assert features.indices[-1] < N_FEATURES
    assert all(-4.0 <= value <= WORDS_NORM for value in features.values)


@given(st.text(max_size=200))
def test_the_same_prompt_has_the_same_features(prompt: str) -> None:
    assert features_of(prompt) == features_of(prompt)


@given(st.text(max_size=50), st.text(max_size=50))
def test_the_digest_tells_prompts_apart(one: str, other: str) -> None:
    assert (features_of(one).digest == features_of(other).digest) == (one == other)


def test_features_do_not_depend_on_the_process() -> None:
    code = f"from fairlead.capability import features_of; print(hash(features_of({QUESTION!r}).indices))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{hash(features_of(QUESTION).indices)}\n"}


def test_the_middle_of_a_long_prompt_is_not_read_but_tells_prompts_apart() -> None:
    one, other = ("a " * 2000 + word + " b" * 2000 for word in ("cat", "dog"))
    assert features_of(one).digest != features_of(other).digest
    assert features_of(one).values == features_of(other).values


def test_order_and_case_of_words_are_not_features() -> None:
    words = slice(N_SHAPE, None)
    assert features_of("Sort the List").indices[words] == features_of("list sort the").indices[words]


@pytest.mark.parametrize("prompt", [QUESTION, f"Tell me\n{QUESTION}", "word " * 800, "Sort it:\n  a\n\tb"])
def test_gaps_and_case_are_not_features(prompt: str) -> None:
    values, indices = features_of(prompt).values, features_of(prompt).indices
    for same in (f"\n{prompt}\n\n", prompt.replace(" ", "  "), prompt.replace(" ", "\t"), prompt.lower()):
        assert features_of(same).indices == indices
        assert features_of(same).values == pytest.approx(values, abs=0.01)


def test_lettered_options_in_one_line_have_the_shape_of_those_in_lines() -> None:
    lines = QUESTION.removesuffix("\nAnswer:")
    one, other = (features_of(prompt).values[3:6] for prompt in (lines, lines.replace("\n", " ")))
    assert one[0] != 0.0
    assert other == pytest.approx(one)
    assert features_of("a paper by J. A. Smith and B. Jones on tea").values[3:6] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("prompt", ["{request}\n\nFunctions: {functions}", "Tools: {functions}\n\n{request}"])
def test_how_much_is_offered_and_asked_for_shows_wherever_it_stands(prompt: str) -> None:
    def asked(functions: int, request: str) -> tuple[float, ...]:
        offer = json.dumps([{"name": f"f{i}", "parameters": {}} for i in range(functions)])
        return features_of(prompt.format(request=request, functions=offer)).values[N_SHAPE - 7 : N_SHAPE]

    once, twice = "What is the weather in Rome today?", "What is the weather in Rome and in Oslo today?"
    assert asked(1, once)[1] < asked(3, once)[1]
    assert asked(2, once)[2] < asked(2, twice)[2]
    assert features_of(once).values[N_SHAPE - 7 : N_SHAPE] == (0.0,) * 7


def test_lettered_options_change_the_shape() -> None:
    plain = QUESTION.replace("A. ", "").replace("B. ", "").replace("C. ", "").replace("D. ", "")
    assert features_of(plain).values[:N_SHAPE] != features_of(QUESTION).values[:N_SHAPE]


@pytest.mark.parametrize("prompt", ["", "\x00", "\ud800", "?" * 10_000, "\nA.\nB.", "日本語の質問"])
def test_strange_prompts_have_features(prompt: str) -> None:
    assert len(features_of(prompt).values) >= N_SHAPE


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="must be text"):
        features_of(b"bytes")  # type: ignore[arg-type]
