"""A call whose answer is cut shorter than its caller asked, in the caller's own words."""

from typing import Any

import msgspec

from fairlead.dialects.common import body_fields, encode
from fairlead.dialects.contract import Call, Dialect, Operation
from fairlead.errors import BadRequestError


def limited(call: Call, max_output_tokens: int) -> Call:
    """Return a call whose answer has at most so many tokens; every other field keeps its value.

    Raises BadRequestError for a body that cannot be read.
    """
    if call.operation is Operation.EMBEDDING:
        return call
    fields: dict[str, Any] = body_fields(call.body)
    if call.dialect is Dialect.OLLAMA:
        fields["options"] = {**(fields.get("options") or {}), "num_predict": max_output_tokens}
    else:
        name = "max_completion_tokens" if fields.get("max_completion_tokens") is not None else "max_tokens"
        fields[name] = max_output_tokens
    return msgspec.structs.replace(call, body=encode(fields), max_output_tokens=max_output_tokens)


def cut(call: Call, max_output_tokens: int) -> Call:
    """Return a call whose answer has at most so many tokens, or as many as it says itself if that is less.

    A body that cannot be read stays as it is.
    """
    own = call.max_output_tokens
    if own is not None and own <= max_output_tokens:
        return call
    try:
        return limited(call, max_output_tokens)
    except BadRequestError:
        return call
