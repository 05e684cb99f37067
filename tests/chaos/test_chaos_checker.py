"""The checker of the chaos runs finds every kind of wrong answer; a checker that finds nothing proves nothing."""

import json

import pytest
from chaos_answers import answer_of, asked_of
from chaos_callers import asks_of, body_of
from chaos_checker import CHAT, COMPLETION, O_CHAT, O_GENERATE, PATHS, Ask, Got, Verdict, judge
from chaos_nodes import EPISODES, episodes_of

from fairlead.testing.answers import Asked, pieces_of, stream_events, whole_answer


def asked(path: str, *, stream: bool) -> tuple[Ask, Asked]:
    ask = Ask(path=path, stream=stream, key="k", words=9)
    return ask, Asked(path, json.loads(body_of(ask)))


def events(path: str, text: str | None = None) -> tuple[Ask, list[bytes]]:
    ask, seen = asked(path, stream=True)
    right = answer_of(ask.prompt) if text is None else text
    return ask, list(stream_events(seen, pieces_of(right, 4)))


def verdict(ask: Ask, body: bytes, *, status: int = 200, is_whole: bool = True, has_left: bool = False) -> Verdict:
    return judge(ask, Got(status=status, body=body, is_whole=is_whole, has_left=has_left))[0]


def an_error(path: str) -> bytes:
    error = {"error": {"message": "broke"}} if path.startswith("/v1/") else {"error": "broke"}
    data = json.dumps(error).encode()
    return b"data: " + data + b"\n\n" if path.startswith("/v1/") else data + b"\n"


@pytest.mark.parametrize("path", PATHS)
def test_right_answers_are_complete(path: str) -> None:
    ask, parts = events(path)
    assert verdict(ask, b"".join(parts)) is Verdict.COMPLETE
    ask, seen = asked(path, stream=False)
    assert verdict(ask, whole_answer(seen, answer_of(ask.prompt))) is Verdict.COMPLETE


@pytest.mark.parametrize("path", PATHS)
def test_explicit_errors_are_told_from_answers(path: str) -> None:
    ask, parts = events(path)
    assert verdict(ask, b"".join(parts[:3]) + an_error(path), is_whole=False) is Verdict.BROKEN
    whole = an_error(path).removeprefix(b"data: ").strip()
    assert verdict(ask, whole, status=503) is Verdict.REFUSED
    assert verdict(ask, b"", status=0, has_left=True) is Verdict.LEFT


@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_wrong_with_a_stream_is_found(path: str) -> None:
    ask, parts = events(path)
    *text, last = parts
    assert verdict(ask, b"".join(text)) is Verdict.WRONG  # ends early
    assert verdict(ask, b"".join(parts), is_whole=False) is Verdict.WRONG  # the transfer was cut
    assert verdict(ask, b"".join([*parts, last])) is Verdict.WRONG  # ends twice
    assert verdict(ask, b"".join([*text[:2], text[1], *text[2:], last])) is Verdict.WRONG  # a piece comes twice
    assert verdict(ask, b"".join([*text[:1], *text[2:], last])) is Verdict.WRONG  # a piece is missing
    assert verdict(ask, b"".join(parts) + an_error(path)) is Verdict.WRONG  # an error after the end
    assert verdict(ask, b"".join(text[:2]) + an_error(path) + last) is Verdict.WRONG  # an end after an error
    assert (
        verdict(ask, b"".join([*text[:2], b'{"message": {"con\n' if "api" in path else b"data: {\n\n"]))
        is Verdict.WRONG
    )
    assert verdict(ask, b"".join(text[:2]) + text[2][:20], is_whole=False) is Verdict.WRONG  # cut within an event
    ask, other = events(path, "0:00000000 sum:00000000")
    assert verdict(ask, b"".join(other)) is Verdict.WRONG
    assert verdict(ask, b"".join(other[:2]) + an_error(path)) is Verdict.WRONG  # wrong before the error


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_an_answer_under_two_names_or_with_two_finishes_is_found(path: str) -> None:
    ask, parts = events(path)
    renamed = [part.replace(b"fake-1", b"fake-2") if at > 2 else part for at, part in enumerate(parts)]
    assert verdict(ask, b"".join(renamed)) is Verdict.WRONG
    finish = next(part for part in parts if b'"stop"' in part)
    at = parts.index(finish)
    assert verdict(ask, b"".join([*parts[:at], finish, *parts[at:]])) is Verdict.WRONG
    assert verdict(ask, b"".join([*parts[:at], *parts[at + 1 :]])) is Verdict.WRONG


@pytest.mark.parametrize("path", PATHS)
def test_wrong_whole_answers_are_found(path: str) -> None:
    ask, seen = asked(path, stream=False)
    right = whole_answer(seen, answer_of(ask.prompt))
    assert verdict(ask, right, is_whole=False) is Verdict.WRONG
    assert verdict(ask, right[:-5]) is Verdict.WRONG
    assert verdict(ask, whole_answer(seen, answer_of(ask.prompt)[:-9])) is Verdict.WRONG
    assert verdict(ask, b"", status=0) is Verdict.WRONG
    assert verdict(ask, b'{"error": ""}', status=500) is Verdict.WRONG
    other = an_error(O_CHAT if path in (CHAT, COMPLETION) else CHAT).removeprefix(b"data: ").strip()
    assert verdict(ask, other, status=500) is Verdict.WRONG  # in the other dialect


def test_prompts_are_read_with_and_without_the_beginning_of_an_answer() -> None:
    ask = Ask(words=3)
    begun = [{"role": "user", "content": ask.prompt}, {"role": "assistant", "content": "0:"}]
    assert asked_of({"messages": begun}) == (ask.prompt, "0:")
    assert asked_of({"messages": begun[:1]}) == (ask.prompt, "")
    assert asked_of({"prompt": ask.prompt + "0:"}) == (ask.prompt, "0:")
    assert asked_of(json.loads(body_of(Ask(path=O_GENERATE, words=3)))) == (ask.prompt, "")
    assert answer_of(ask.prompt).startswith("0:")


def test_the_plan_of_a_run_follows_from_its_seed() -> None:
    first, again, other = (asks_of(seed) for seed in (1, 1, 2))
    taken = [next(first) for _ in range(50)]
    assert taken == [next(again) for _ in range(50)] != [next(other) for _ in range(50)]
    assert {one.path for one in taken} == set(PATHS)
    plan = episodes_of(1, 9, 3, 40)
    assert plan == episodes_of(1, 9, 3, 40) != episodes_of(2, 9, 3, 40)
    assert {episode.kind for episode in plan} == set(EPISODES)
