"""Judges what a caller got, knowing nothing of the gateway but the dialects: right, explicitly refused, or wrong."""

import json
from enum import StrEnum
from typing import Any

import msgspec
from chaos_answers import answer_of, prompt_of

CHAT, COMPLETION, O_CHAT, O_GENERATE = "/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"
PATHS = (CHAT, COMPLETION, O_CHAT, O_GENERATE)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and how its caller behaves."""

    path: str = CHAT
    stream: bool = False
    key: str = "k"
    words: int = 5
    headers: dict[str, str] = {}
    leaves_after: int | None = None
    """Reads of the answer after which its caller hangs up; None: it stays."""

    @property
    def prompt(self) -> str:
        return prompt_of(self.key, self.words)


class Got(msgspec.Struct, kw_only=True):
    """What came back, as it came."""

    status: int = 0
    """0: no head at all."""
    headers: dict[str, str] = {}
    body: bytes = b""
    is_whole: bool = False
    """Whether the answer ended as HTTP says that answers end."""
    has_left: bool = False
    took_s: float = 0.0


class Verdict(StrEnum):
    """What became of a request."""

    COMPLETE = "complete"
    REFUSED = "refused"  # an error of the dialect in place of an answer
    BROKEN = "broken"  # a right beginning, and then an error of the dialect
    LEFT = "left"  # its caller did not stay
    WRONG = "wrong"


class WrongError(Exception):
    """Says what is wrong."""


def judge(ask: Ask, got: Got) -> tuple[Verdict, str]:
    """Return the verdict, and what is wrong where something is."""
    try:
        return _judge(ask, got), ""
    except WrongError as error:
        return Verdict.WRONG, f"{error} | {ask} -> {got.status} {got.headers} {got.body[-400:]!r}"


def _judge(ask: Ask, got: Got) -> Verdict:
    if got.has_left:
        return Verdict.LEFT
    _demand(got.status != 0, "no answer at all")
    if got.status != 200:
        _demand(got.status >= 400, "neither an answer nor an error")
        _demand(got.is_whole, "an error that is cut")
        _check_error(ask, _read(got.body))
        _demand(b"stopping" not in got.body or "retry-after" in got.headers, "the end without a time to come again")
        return Verdict.REFUSED
    if not ask.stream:
        _demand(got.is_whole, "an answer that is cut, and says 200")
        _check_whole(ask, _read(got.body))
        return Verdict.COMPLETE
    parts = _events(got.body) if ask.path.startswith("/v1/") else _lines(got.body)
    return _check_stream(ask, parts, is_whole=got.is_whole)


def _check_whole(ask: Ask, body: Any) -> None:
    text, reason = _said(body)
    _demand(text == answer_of(ask.prompt), "the answer is not the right one")
    _demand(reason == "stop", "the answer is not finished")
    if not ask.path.startswith("/v1/"):
        _demand(body.get("done") is True, "the answer is not done")


def _check_stream(ask: Ask, parts: list[Any], *, is_whole: bool) -> Verdict:
    """Read a stream event by event: text, one finish, one end mark, and nothing after an end or an error."""
    right = answer_of(ask.prompt)
    text, finishes, is_done, error = "", 0, False, None
    identities = set()
    for part in parts:
        _demand(error is None, "something follows an error")
        _demand(not is_done, "something follows the end mark")
        if part == "[DONE]":
            is_done = True
            continue
        if part.get("error"):
            error = part
            continue
        identities.add((part.get("id"), part.get("model"), part.get("object")))
        piece, reason = _said(part)
        _demand(not (finishes and piece), "text follows the finish")
        text += piece
        finishes += reason is not None
        is_done = part.get("done") is True
        _demand(right.startswith(text), f"the text is not the right one: {text!r}")
    _demand(len(identities) <= 1, f"one answer under several names: {identities}")
    if error is not None:
        _check_error(ask, error)
        _demand(not finishes, "an error follows the finish")
        return Verdict.BROKEN
    _demand(text == right, f"the answer ends early, without an error: {text!r}")
    _demand(finishes == 1, f"{finishes} finishes")
    _demand(is_done, "no end mark")
    _demand(is_whole, "the end of the transfer is missing")
    return Verdict.COMPLETE


def _check_error(ask: Ask, body: Any) -> None:
    error = body.get("error") if isinstance(body, dict) else None
    if ask.path.startswith("/v1/"):
        _demand(isinstance(error, dict) and bool(error.get("message")), "the error is not in OpenAI's shape")
    else:
        _demand(isinstance(error, str) and bool(error), "the error is not in Ollama's shape")


def _said(part: Any) -> tuple[str, str | None]:
    """Return the text of an answer or of a piece of it, and its finish reason."""
    if "choices" not in part:
        text = part.get("response") if "response" in part else (part.get("message") or {}).get("content")
        return text or "", part.get("done_reason")
    choices = part["choices"]
    _demand(len(choices) <= 1, "several choices")
    if not choices:
        return "", None
    message = choices[0].get("delta") or choices[0].get("message") or choices[0]
    return message.get("content") or message.get("text") or "", choices[0].get("finish_reason")


def _events(body: bytes) -> list[Any]:
    *events, rest = body.split(b"\n\n")
    _demand(not rest, "an event that is cut")
    found: list[Any] = []
    for event in events:
        data = b"".join(line[6:] for line in event.splitlines() if line.startswith(b"data: "))
        if data:
            found.append("[DONE]" if data == b"[DONE]" else _read(data))
    return found


def _lines(body: bytes) -> list[Any]:
    *lines, rest = body.split(b"\n")
    _demand(not rest, "a line that is cut")
    return [_read(line) for line in lines if line]


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise WrongError("this is no JSON") from None


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise WrongError(message)
