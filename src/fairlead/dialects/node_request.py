"""A caller's request in a node's own words: the same bytes with another model's name, or a translation."""

import re

import msgspec

from fairlead.dialects.common import BAD_JSON, body_fields, encode
from fairlead.dialects.contract import Call, Dialect, NodeRequest, Operation
from fairlead.dialects.translate_to_ollama import to_ollama
from fairlead.dialects.translate_to_openai import to_openai
from fairlead.errors import BadRequestError

_OPENAI = Dialect.OPENAI
_OLLAMA = Dialect.OLLAMA
_CHAT = Operation.CHAT
_COMPLETION = Operation.COMPLETION
_PASSING = Operation.PASSING
_FORM_MODEL = re.compile(rb'name="model"(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]+)')
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def node_request(call: Call, model: str, node: Dialect, *, ask_usage: bool = True) -> NodeRequest:
    """Return the request for a node that speaks `node` and knows the model as `model`.

    `ask_usage` makes a translated stream report its tokens, which an Ollama caller always reads; within one dialect a
    request never asks more than its caller did. Raises BadRequestError where the node's dialect cannot say what the
    caller asked.
    """
    if call.operation is _PASSING:
        path = call.path.removeprefix("/v1") if node == _OPENAI else call.path
        return NodeRequest(path, call.body if model == call.model else with_model(call, model))
    if call.dialect == node:
        unchanged = model == call.model and (node == _OPENAI or b'"name"' not in call.body)
        return NodeRequest(_own_path(call), call.body if unchanged else with_model(call, model))
    fields = body_fields(call.body)
    try:
        if node == _OLLAMA:
            path, fields = to_ollama(call, fields, model)
        else:
            path, fields = to_openai(call, fields, model, ask_usage=ask_usage)
        return NodeRequest(path, encode(fields))
    except (RecursionError, UnicodeEncodeError) as error:
        raise BadRequestError(f"The body cannot be translated for this node: {error}") from None


def _own_path(call: Call) -> str:
    if call.dialect == _OLLAMA:
        return call.path
    if call.operation is _CHAT:
        return "/chat/completions"
    return "/completions" if call.operation is _COMPLETION else "/embeddings"


def with_model(call: Call, model: str) -> bytes:
    """Return the body with another model's name in it; every other field keeps its bytes.

    Splicing the name into the text would have to rule out a second, or an escaped, `model` key: that costs more than
    skipping through the top level once.
    """
    if call.operation is _PASSING and (form := _FORM_MODEL.search(call.body)) and not call.body.startswith(b"{"):
        return b"".join((call.body[: form.start(1)], model.encode(), call.body[form.end(1) :]))
    try:
        fields = _fields_decoder.decode(call.body)
    except BAD_JSON as error:
        raise BadRequestError(f"The body cannot be read: {error}") from None
    if call.dialect == _OLLAMA:
        fields.pop("name", None)
    fields["model"] = msgspec.Raw(encode(model))
    return encode(fields)
