"""A call that asks a node to go on from the beginning of an answer, in the words of the caller's own dialect.

`node_request` then says it in the node's. A chat gets a last message of the assistant; a completion's prompt is made
longer, which any node understands and no template can change.
"""

from typing import Any

import msgspec

from fairlead.dialects.common import body_fields, encode
from fairlead.dialects.contract import Call, Dialect, Operation
from fairlead.domain.rescue import Continuation
from fairlead.errors import BadRequestError

Fields = dict[str, Any]

_IN_CHATS = (Continuation.TRAILING, Continuation.CONTINUE_FINAL, Continuation.PREFIX)
_LIMITS = {Dialect.OPENAI: ("max_tokens", "max_completion_tokens"), Dialect.OLLAMA: ("num_predict",)}


def can_continue(call: Call, how: Continuation) -> bool:
    """Whether the beginning of an answer can be handed to a node that is asked in this way.

    Raises BadRequestError for a body that cannot be read.
    """
    fields = body_fields(call.body)
    if call.operation is Operation.COMPLETION:
        return _prompt(call, fields) is not None
    if call.operation is not Operation.CHAT or how not in _IN_CHATS:
        return False
    begun = _begun(fields)
    # Some nodes repeat what they were given, and others not: who finds the caller's own words in front cannot tell.
    return begun is not None and not (begun and how is Continuation.PREFIX)


def handed_over(call: Call, kept: str) -> str:
    """Return the part of the kept text that the node is given: without blanks at its end, but in completions.

    Chat templates may strip them, and the model then says them once more; and where they stay, most models have learnt
    to say a word together with the blank before it and go wrong after one (of 27 cuts with a blank at the end llama.cpp
    went on rightly from 3, and from all once it was stripped). So the blanks have to come again.
    """
    return kept if call.operation is Operation.COMPLETION else kept.rstrip()


def continued(call: Call, kept: str, how: Continuation, said_tokens: int = 0) -> Call:
    """Return the call with the beginning of the answer added, and its limits less what was said already (at least 1).

    `said_tokens` is how many tokens the kept text is, as far as the caller of this knows. A last message of the
    assistant that the request has already is made longer. Raises BadRequestError for a body that cannot be read, or
    that cannot be continued (see `can_continue`).
    """
    if not can_continue(call, how):
        raise BadRequestError("The answer to this request cannot be gone on from by the node chosen.")
    fields = body_fields(call.body)
    given = handed_over(call, kept)
    if call.operation is Operation.COMPLETION:
        fields["prompt"] = (_prompt(call, fields) or "") + given
    elif given:
        _add_message(fields, given, how)
    _lower(fields, call.dialect, said_tokens)
    limit = call.max_output_tokens
    left = None if limit is None else max(limit - said_tokens, 1)
    return msgspec.structs.replace(call, body=encode(fields), max_output_tokens=left)


def _prompt(call: Call, fields: Fields) -> str | None:
    """Return the prompt of a completion if it goes to the model as it stands, else None."""
    prompt = fields.get("prompt")
    if call.dialect == Dialect.OLLAMA:
        return prompt if fields.get("raw") is True and isinstance(prompt, str) else None
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else None


def _begun(fields: Fields) -> str | None:
    """Return what the caller itself put into the assistant's mouth; None where that is more than a text."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return None
    last = messages[-1]
    if last.get("role") != "assistant":
        return ""
    content = last.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text")
    if any(last.get(name) for name in ("tool_calls", "function_call", "images")):
        return None
    return "" if content is None else content if isinstance(content, str) else None


def _add_message(fields: Fields, given: str, how: Continuation) -> None:
    begun = _begun(fields) or ""
    messages = fields["messages"]
    if messages[-1].get("role") != "assistant":
        messages.append({"role": "assistant"})
    messages[-1]["content"] = begun + given  # as one string: llama.cpp goes on from nothing else
    if how is Continuation.PREFIX:
        messages[-1]["prefix"] = True
    elif how is Continuation.CONTINUE_FINAL:
        fields |= {"continue_final_message": True, "add_generation_prompt": False}


def _lower(fields: Fields, dialect: Dialect, said_tokens: int) -> None:
    holder = fields
    if dialect == Dialect.OLLAMA:
        options = fields.get("options")
        holder = options if isinstance(options, dict) else {}
    for name in _LIMITS[dialect]:
        limit = holder.get(name)
        if isinstance(limit, (int, float)) and not isinstance(limit, bool) and limit >= 0:
            holder[name] = max(int(limit) - said_tokens, 1)
