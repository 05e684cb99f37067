"""For backends that only say text: their words in the shape of an OpenAI answer, so that any relay understands them."""

from collections.abc import Mapping

import msgspec

from fairlead.backends.contract import Sink
from fairlead.dialects.contract import NodeRequest
from fairlead.errors import BadRequestError

_JSON_HEADERS = [(b"content-type", b"application/json")]
_STREAM_HEADERS = [(b"content-type", b"text/event-stream")]


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    role: str = "user"
    content: str | list[_Part] | None = None


class Asked(msgspec.Struct):
    """What is asked of a backend that only says text."""

    model: str = ""
    stream: bool | None = None
    messages: list[_Message] | None = None
    prompt: str | list[str] | None = None


def read_asked(request: NodeRequest) -> Asked:
    """Understand a request in OpenAI's words. Raises BadRequestError for one that asks for no text."""
    if request.path not in ("/chat/completions", "/completions"):
        raise BadRequestError(f"this node answers with text only; it has nothing at {request.path}")
    try:
        return msgspec.json.decode(request.body, type=Asked)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestError(str(error)) from None


def prompt_of(asked: Asked) -> str:
    """Return all that is asked as one text; a lone user message as it stands, longer talks with their roles."""
    if asked.messages is None:
        return asked.prompt if isinstance(asked.prompt, str) else "\n".join(asked.prompt or ())
    texts = [(one.role, _text(one.content)) for one in asked.messages]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


class Speaker:
    """Says text to a sink: at once in pieces where the caller streams, in one answer at the end where not."""

    def __init__(self, request: NodeRequest, asked: Asked, sink: Sink) -> None:
        self._sink = sink
        self._is_chat = request.path == "/chat/completions"
        self._asked = asked
        self._said: list[str] = []
        self._has_begun = False

    def say(self, text: str) -> None:
        """Say a piece."""
        self._said.append(text)
        if self._asked.stream:
            self._open()
            self._event(self._piece(text))

    def finish(self, reason: str = "stop") -> None:
        """Say that this was all."""
        if self._asked.stream:
            self._open()
            self._event(self._piece(""), reason)
            self._sink.on_data(b"data: [DONE]\n\n")
        else:
            text = "".join(self._said)
            message = {"message": {"role": "assistant", "content": text}}
            content: Mapping[str, object] = message if self._is_chat else {"text": text}
            self._sink.on_head(200, _JSON_HEADERS)
            self._sink.on_data(msgspec.json.encode(self._shape(content, reason, "")))
        self._sink.on_end()

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error."""
        self._sink.on_head(status, _JSON_HEADERS)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self._sink.on_data(msgspec.json.encode({"error": error}))
        self._sink.on_end()

    def _piece(self, text: str) -> Mapping[str, object]:
        return {"delta": {"content": text}} if self._is_chat else {"text": text}

    def _open(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._sink.on_head(200, _STREAM_HEADERS)

    def _event(self, content: Mapping[str, object], reason: str | None = None) -> None:
        self._sink.on_data(b"data: %b\n\n" % msgspec.json.encode(self._shape(content, reason, ".chunk")))

    def _shape(self, content: Mapping[str, object], reason: str | None, suffix: str) -> dict[str, object]:
        kind = f"chat.completion{suffix}" if self._is_chat else "text_completion"
        choice = {"index": 0, **content, "finish_reason": reason}
        return {"id": "spoken", "object": kind, "created": 0, "model": self._asked.model, "choices": [choice]}


def _text(content: str | list[_Part] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text for part in content)
    return content or ""
