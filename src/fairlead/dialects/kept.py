"""What a caller has got of a streamed answer: kept, so that another node can finish the answer if this one breaks.

While the answer streams, its bytes are only put aside; they are read when they grow large, and when it breaks.
"""

import re
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON
from fairlead.dialects.contract import Call, Operation
from fairlead.dialects.said import Identity, Said, read_all_said
from fairlead.errors import FairleadError

LIMIT_BYTES = 256 * 1024
"""Longest text that is kept, in UTF-8."""
FOLD_BYTES = 16 * 1024
"""So many bytes are put aside before they are read into text."""

NEVER_KEPT = frozenset(("json", "logprobs"))
"""Of what a call needs: with any of these, no other node could go on."""
_ONE_AT_MOST = ("n", "best_of")
_FREE_FORMATS = (None, "text")
_SHAPED = (
    "echo",
    "suffix",
    "logprobs",
    "audio",
    "use_beam_search",
    "grammar",
    "json_schema",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "regex",
    "ebnf",
)
"""Fields under which an answer is more than the text that follows the prompt, in the words of many servers."""
_SUSPECT = re.compile(
    rb'"(?:' + "|".join((*_ONE_AT_MOST, *_SHAPED, "response_format")).encode() + rb')"\s*:|"prompt"\s*:\s*\['
)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def can_be_kept(call: Call) -> str | None:
    """Return why another node could never finish the answer to this call, or None where it might.

    Looks through the body once for suspicious words, and decodes its top level only if it finds one.
    """
    if call.operation not in (Operation.CHAT, Operation.COMPLETION):
        return f"an answer of the kind {call.operation.value!r} is no text"
    if not call.stream:
        return "the answer is not streamed"
    if "json" in call.needs:
        return "the answer follows a schema"
    if "logprobs" in call.needs:
        return "log-probabilities were asked for"
    return _shaped(call.body) if _SUSPECT.search(call.body) else None


def _shaped(body: bytes) -> str | None:
    try:
        raw = _fields_decoder.decode(body)
        names = (*_ONE_AT_MOST, *_SHAPED, "response_format", "prompt")
        fields: dict[str, Any] = {name: msgspec.json.decode(raw[name]) for name in names if name in raw}
    except BAD_JSON:
        return "the request cannot be read"
    if any(_is_many(fields.get(name)) for name in _ONE_AT_MOST) or _is_batch(fields.get("prompt")):
        return "more than one choice was asked for"
    wanted = fields.get("response_format")
    if wanted and (wanted.get("type") if isinstance(wanted, dict) else wanted) not in _FREE_FORMATS:
        return "the answer follows a schema"
    name = next((name for name in _SHAPED if _is_asked(fields.get(name))), None)
    return None if name is None else f"`{name}` was asked for"


def _is_asked(value: Any) -> bool:
    """Whether a field is used: a 0 asks for log-probabilities too, of the word that was chosen."""
    return value is not None and value is not False and value != ""


def _is_many(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 1


def _is_batch(prompt: Any) -> bool:
    """Whether several prompts are in it; a list of numbers is one, in tokens."""
    return isinstance(prompt, list) and len(prompt) > 1 and not all(isinstance(token, int) for token in prompt)


class KeptAnswer:
    """What went to the caller of one answer."""

    __slots__ = ("_has_role", "_identity", "_is_read", "_limit_bytes", "_raw", "_size", "_texts", "_why_not", "call")

    def __init__(self, call: Call, limit_bytes: int = LIMIT_BYTES) -> None:
        self.call = call
        self._limit_bytes = limit_bytes
        self._raw = bytearray()
        self._texts: list[str] = []
        self._size = 0
        self._why_not: str | None = None
        self._has_role = False
        self._identity = Identity()
        self._is_read = False

    def add(self, out: bytes) -> None:
        """Put aside whole events that go to the caller now."""
        raw = self._raw
        raw += out
        if len(raw) > FOLD_BYTES:
            self._fold()

    @property
    def text(self) -> str:
        """The text of the answer so far; what came before a restart is not in it."""
        self._fold()
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def identity(self) -> Identity:
        """What the events share, as the first of them said it."""
        self._fold()
        return self._identity

    @property
    def has_role(self) -> bool:
        """Whether the caller has been told whose words these are."""
        self._fold()
        return self._has_role

    @property
    def why_not(self) -> str | None:
        """Why no other node can finish this answer, in words; None where one can."""
        self._fold()
        return self._why_not or can_be_kept(self.call)

    # -- inside

    def _fold(self) -> None:
        """Read what was put aside."""
        if not self._raw:
            return
        data, self._raw = bytes(self._raw), bytearray()
        if self._why_not is not None:
            return
        try:
            for said in read_all_said(self.call.dialect, data):
                self._take(said)
        except FairleadError:
            self._why_not = "what went out of it cannot be read"
        if self._size > self._limit_bytes:
            self._why_not = f"its text is longer than {self._limit_bytes} bytes"
        if self._why_not is not None:
            self._texts = []  # nobody will ask for it

    def _take(self, said: Said) -> None:
        if not self._is_read and said.identity != _NOBODY:
            self._is_read = True
            self._identity = said.identity
        if said.is_restart:
            self._texts.clear()
            self._size = 0
        if said.text:
            self._texts.append(said.text)
            self._size += len(said.text) if said.text.isascii() else len(said.text.encode())
        self._has_role = self._has_role or said.has_role
        if said.other is not None:
            self._why_not = f"it holds {said.other}"
        elif said.is_last:
            self._why_not = "its end went out already"


_NOBODY = Identity()
