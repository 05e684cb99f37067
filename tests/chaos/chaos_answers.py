"""Answers that can be verified: a function of the prompt, word by word, with a checksum of the whole at the end."""

import random
from binascii import crc32
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from fairlead.testing.provider import FakeProvider, Fate, Received, Reply

MODEL = "m"
_END = " ###"


def prompt_of(key: str, words: int) -> str:
    """Return a prompt that asks for so many words; what follows its end mark is the beginning of an answer."""
    return f"say {words} words of {key}{_END}"


def answer_of(prompt: str) -> str:
    """Return the one right answer to a prompt."""
    _, count, _, _, key, _ = prompt.split(" ")
    words = [f"{number}:{crc32(f'{key}/{number}'.encode()):08x}" for number in range(int(count))]
    text = " ".join(words)
    return f"{text} sum:{crc32(text.encode()):08x}"


def asked_of(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the prompt of a request, and the beginning of the answer that came with it."""
    messages = fields.get("messages")
    if messages is None:
        prompt, end, prefix = str(fields["prompt"]).partition(_END)
        return prompt + end, prefix
    said = {message["role"]: message["content"] for message in messages}
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    return said["user"], prefix


class Prefixes(StrEnum):
    """What a stand-in does about the beginning of an answer."""

    CONTINUES = "continues"
    RESTARTS = "restarts"
    REJECTS = "rejects"


def _prefixes_of(fields: Mapping[str, Any], path: str) -> Prefixes | None:
    """Return what every server does: a plain prompt is gone on from, one in a template is not."""
    if "messages" in fields:
        return None
    is_plain = path == "/v1/completions" or fields.get("raw") is True
    return Prefixes.CONTINUES if is_plain else Prefixes.RESTARTS


class Weakness(msgspec.Struct, frozen=True):
    """How often a stand-in itself fails, and how."""

    share: float = 0.0
    fates: tuple[Reply, ...] = ()


UNWELL = (
    Reply(status=500),
    Reply(status=503),
    Reply(status=429, headers={"retry-after": "0.1"}),
    Reply(fate=Fate.ERROR_EVENT),
    Reply(fate=Fate.MALFORMED),
    Reply(fate=Fate.UNFINISHED),
    Reply(fate=Fate.NO_DONE),
    Reply(fate=Fate.NO_USAGE),
    Reply(fate=Fate.RESET),
    Reply(fate=Fate.CUT_RESET),
)


class StandIn:
    """A model server that gives the right answers, unless it is weak just then."""

    def __init__(self, provider: FakeProvider, prefixes: Prefixes, seed: int, pause_s: float) -> None:
        self.provider = provider
        self.prefixes = prefixes
        self.weakness = Weakness()
        self.failed = 0
        """How often it failed."""
        self.continued = 0
        """How often it went on from the beginning of an answer."""
        self.wrong_prefixes: list[str] = []
        """Beginnings that are not those of the right answer: whoever sent them has spliced wrongly."""
        self._draw = random.Random(seed)
        self._pause_s = pause_s
        provider.choose = self._reply

    def _reply(self, request: Received) -> Reply:
        fields = request.asked.fields
        prompt, prefix = asked_of(fields)
        answer = answer_of(prompt)
        if prefix and not answer.startswith(prefix):
            self.wrong_prefixes.append(f"{prefix!r} is no beginning of {answer!r}")
        prefixes = _prefixes_of(fields, request.path) or self.prefixes
        if prefix and prefixes is Prefixes.REJECTS:
            return Reply(status=400)
        text = answer
        if prefix and prefixes is Prefixes.CONTINUES:
            self.continued += 1
            text = answer.removeprefix(prefix)
        reply = Reply()
        if self.weakness.share and self._draw.random() < self.weakness.share:
            self.failed += 1
            reply = self._draw.choice(self.weakness.fates)
        pieces = max(1, min(8, len(text) // 12))
        return msgspec.structs.replace(reply, text=text, pieces=pieces, pause_s=self._pause_s)
