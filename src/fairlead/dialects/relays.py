"""Which relay takes an answer from a node's dialect to the caller's."""

from fairlead.dialects.contract import Call, Dialect, Operation, Relay
from fairlead.dialects.embeddings import EmbeddingRelay
from fairlead.dialects.passing import PassingRelay
from fairlead.dialects.relay_ollama import OllamaRelay
from fairlead.dialects.relay_openai import OpenAIRelay
from fairlead.dialects.relay_to_ollama import ToOllamaRelay
from fairlead.dialects.relay_to_openai import ToOpenAIRelay

_OPENAI = Dialect.OPENAI
_EMBEDDING = Operation.EMBEDDING
_PASSING = Operation.PASSING


def make_relay(call: Call, node: Dialect, *, answer_id: str, now_s: float, model: str) -> Relay:
    """Return the relay for one answer.

    `answer_id`, `now_s` (Unix seconds) and `model` stand in the answer wherever the node's own are not passed on.
    """
    if call.operation is _PASSING:
        return PassingRelay()
    if call.dialect == node:
        if node == _OPENAI:
            return OpenAIRelay(call, answer_id=answer_id, now_s=now_s, model=model)
        return OllamaRelay(call)
    if call.operation is _EMBEDDING:
        return EmbeddingRelay(call, model=model)
    if node == _OPENAI:
        return ToOllamaRelay(call, now_s=now_s, model=model)
    return ToOpenAIRelay(call, answer_id=answer_id, now_s=now_s, model=model)
