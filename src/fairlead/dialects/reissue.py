"""Events of a second node's answer, rewritten so that they read as the first one's going on."""

from typing import Any

from fairlead.dialects.common import BAD_JSON, decode_any, encode
from fairlead.dialects.contract import Call, Dialect, Operation, Usage
from fairlead.dialects.said import RESTARTED, Identity
from fairlead.dialects.sse import payload
from fairlead.errors import MalformedAnswerError

Event = dict[str, Any]

NOTE = "fairlead"
"""The field of an event that is the router's own."""
_LINE_HEAD: tuple[str, ...] = ("model", "created_at")


class Reissue:
    """Rewrites the events of one caller's dialect; those that are given to it have been read as right ones."""

    __slots__ = ("_call", "_drop_role", "_identity", "_is_chat", "_is_openai")

    def __init__(self, call: Call, identity: Identity, *, drop_role: bool) -> None:
        self._call = call
        self._is_openai = call.dialect == Dialect.OPENAI
        self._is_chat = call.operation is Operation.CHAT
        self._identity = identity
        self._drop_role = drop_role

    def read(self, event: bytes) -> Event:
        """Return an event as an object that may be changed, the identity put right. Raises MalformedAnswerError."""
        data = payload(event) if self._is_openai else event
        try:
            found: Event = decode_any(data or b"{}")
        except BAD_JSON as error:
            raise MalformedAnswerError(f"An event is not what its protocol says: {error}") from None
        known = self._identity
        if known.model is not None:
            found["model"] = known.model
        if self._is_openai:
            found |= {name: value for name, value in (("id", known.id), ("created", known.created)) if value}
            if self._drop_role:
                _drop_roles(found)
        return found

    def write(self, event: Event) -> bytes:
        """Return an event as bytes."""
        data = encode(event)
        return b"data: " + data + b"\n\n" if self._is_openai else data + b"\n"

    def say(self, event: Event, text: str) -> None:
        """Make this the text of an event that was read as one of plain text."""
        if not self._is_openai:
            message = event.get("message")
            if message is None and not self._is_chat:
                event["response"] = text
            else:
                event["message"] = {**(message or {"role": "assistant"}), "content": text}
            return
        choice = next(iter(event.get("choices") or ()), None)
        if choice is None:
            event["choices"] = [self._choice(text)]
        elif choice.get("delta") is not None:
            choice["delta"]["content"] = text
        else:
            choice["text"] = text

    def count(self, event: Event, usage: Usage) -> None:
        """Put the tokens right, where an event tells them."""
        if self._is_openai and event.get("usage"):
            total = usage.input_tokens + usage.output_tokens
            event["usage"] = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": total,
            }
        elif not self._is_openai and event.get("done"):
            event |= {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}

    def beside(self, like: Event, text: str, note: object) -> Event:
        """Return an event of our own beside another one of the same answer."""
        if not self._is_openai:
            said = {"message": {"role": "assistant", "content": text}} if self._is_chat else {"response": text}
            return {name: like[name] for name in _LINE_HEAD if name in like} | said | {"done": False, NOTE: note}
        known = self._identity
        pairs = (("id", known.id), ("created", known.created), ("model", known.model))
        head: Event = {"object": "chat.completion.chunk" if self._is_chat else "text_completion"}
        head |= {name: value for name, value in pairs if value is not None}
        return head | {"choices": [self._choice(text)], NOTE: note}

    def restart(self, like: Event) -> bytes:
        """Return the event that tells the caller to forget what it has got."""
        return self.write(self.beside(like, "", {RESTARTED: True}))

    def _choice(self, text: str) -> Event:
        said: Event = {"text": text}
        if self._is_chat:
            said = {"delta": {"content": text} if text else {}}
        return {"index": 0, **said, "finish_reason": None}


def _drop_roles(event: Event) -> None:
    for choice in event.get("choices") or ():
        delta = choice.get("delta")
        if delta is not None:
            delta.pop("role", None)
