"""A recorded exchange with a real Ollama is the measure: same keys, in the same order, and the same words."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from dialects_shared import (
    CHAT,
    COMPLETION,
    DONE,
    EMBEDDING,
    OLLAMA,
    OPENAI,
    USAGE,
    call,
    chunk,
    dumps,
    event,
    relay_for,
)

from fairlead.dialects import Operation, decode, empty_answer
from fairlead.dialects.listing import (
    ModelCard,
    anthropic_model,
    anthropic_models,
    ollama_ps,
    ollama_show,
    ollama_tags,
    ollama_version,
    openai_model,
    openai_models,
)
from fairlead.errors import BadRequestError

RECORD = Path(__file__).parents[3] / "shared" / "data" / "ollama-0.9.3-wire.txt"
CARD = ModelCard("smollm2:135m", 8192, frozenset({"tools"}), 1_795_223_599, ("a", "b"))


class Exchange:
    """One recorded request and what came back."""

    def __init__(self, text: str) -> None:
        head, request, status, *body = text.split("\n")
        self.what = head.strip()
        self.request = request.removeprefix("> ")
        self.status = int(status.split()[1])
        self.body = "\n".join(body).strip()

    @property
    def lines(self) -> list[Any]:
        return [json.loads(part) for part in self.body.splitlines()]


@pytest.fixture(scope="module")
def record() -> list[Exchange]:
    if not RECORD.exists():
        pytest.skip(f"the recorded exchange is not here: {RECORD}")
    return [Exchange(part) for part in RECORD.read_text().split("### ")[1:]]


def one(record: list[Exchange], what: str, *marks: str) -> Exchange:
    return next(e for e in record if e.what.startswith(what) and all(m in e.request + e.what for m in marks))


def keys(value: Any) -> list[str]:
    return list(value)


@pytest.mark.parametrize(("operation", "path"), [(CHAT, "POST /api/chat"), (COMPLETION, "POST /api/generate")])
def test_streamed_lines_look_recorded(record: list[Exchange], operation: Operation, path: str) -> None:
    recorded = one(record, path, '"num_predict": 6').lines
    relay = relay_for(call(OLLAMA, operation), OPENAI)
    out = relay.feed(event(chunk({"content": "One"})) + event(chunk({}, "length", usage=USAGE)) + DONE)
    first, end = (json.loads(part) for part in out.splitlines())
    assert keys(first) == keys(recorded[0])
    assert keys(end) == [key for key in keys(recorded[-1]) if key != "context"]  # token ids that only Ollama has


@pytest.mark.parametrize(("operation", "path"), [(CHAT, "POST /api/chat"), (COMPLETION, "POST /api/generate")])
def test_whole_answers_look_recorded(record: list[Exchange], operation: Operation, path: str) -> None:
    recorded = one(record, path, '"stream": false', '"num_predict": 6', '"hi"' if operation is CHAT else "raw")
    body = dumps({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "length"}]})
    out = json.loads(relay_for(call(OLLAMA, operation, stream=False), OPENAI).whole(body))
    assert keys(out) == keys(json.loads(recorded.body))
    assert out["done_reason"] == "length"


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("word", ["load", "unload"])
def test_loading_looks_recorded(record: list[Exchange], path: str, word: str) -> None:
    recorded = next(e for e in record if e.what.startswith(f"POST {path} {word}"))
    operation = CHAT if path == "/api/chat" else COMPLETION
    asked = decode(OLLAMA, operation, path, recorded.request.encode())
    body = empty_answer(asked, now_s=0.0, model="smollm2:135m")
    assert body is not None
    ours, theirs = json.loads(body), json.loads(recorded.body)
    assert keys(ours) == keys(theirs)
    assert ours | {"created_at": ""} == theirs | {"created_at": ""}


def test_every_recorded_request_is_understood_or_refused_in_the_same_words(record: list[Exchange]) -> None:
    doors = {"/api/chat": CHAT, "/api/generate": COMPLETION, "/api/embed": EMBEDDING, "/api/embeddings": EMBEDDING}
    complaints = []
    for exchange in record:
        method, path, *_ = exchange.what.split()
        if method != "POST" or path not in doors:
            continue
        body = ast.literal_eval(exchange.request) if exchange.request.startswith("b'") else exchange.request.encode()
        try:
            decode(OLLAMA, doors[path], path, body)
        except BadRequestError as error:
            complaints.append((dumps({"error": str(error)}).decode(), exchange.body))
    assert len(complaints) == 3
    assert all(ours == theirs for ours, theirs in complaints)


def test_openai_chunks_look_recorded(record: list[Exchange]) -> None:
    text = one(record, "POST /v1/chat/completions", '"stream": true').body
    recorded = [json.loads(p.removeprefix("data: ")) for p in text.split("\n\n") if "[DONE]" not in p]
    relay = relay_for(call(stream=True, stream_options={"include_usage": True}), OLLAMA)
    line = dumps({"message": {"content": "Here"}, "done": True, "done_reason": "length", "eval_count": 4})
    out = [json.loads(p[6:]) for p in relay.feed(line + b"\n").split(b"\n\n") if p and b"[DONE]" not in p]
    for ours, theirs in ((out[0], recorded[0]), (out[-1], recorded[-1])):
        assert keys(ours) == [key for key in keys(theirs) if key != "system_fingerprint"]
    assert keys(out[0]["choices"][0]) == keys(recorded[0]["choices"][0])
    assert keys(out[-1]["usage"]) == keys(recorded[-1]["usage"])


def test_a_recorded_stream_passes_and_repeats_no_role(record: list[Exchange]) -> None:
    text = one(record, "POST /v1/chat/completions", '"stream": true').body
    relay = relay_for(call(stream=True), OPENAI)
    out = relay.feed((text + "\n\n").encode()) + relay.close()
    assert out.count(b'"role"') == 1
    assert (relay.chunks, out.endswith(DONE)) == (4, True)


def test_lists_look_recorded(record: list[Exchange]) -> None:
    for path, ours in (("GET /api/tags", ollama_tags([CARD])), ("GET /api/ps", ollama_ps([CARD]))):
        theirs = json.loads(one(record, path).body)["models"][0]
        model = json.loads(ours)["models"][0]
        assert keys(model) == keys(theirs)
        assert keys(model["details"]) == keys(theirs["details"])
        assert len(model["digest"]) == len(theirs["digest"])
    assert ollama_version("0.9.3").decode() == one(record, "GET /api/version").body
    theirs = json.loads(one(record, "GET /v1/models").body)
    ours_list = json.loads(openai_models([CARD]))
    assert keys(ours_list) == keys(theirs)
    assert keys(ours_list["data"][0])[:4] == keys(theirs["data"][0])
    assert keys(json.loads(openai_model(CARD)))[:4] == keys(theirs["data"][0])


def test_show_has_what_clients_read() -> None:
    shown = json.loads(ollama_show(CARD))
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"][shown["model_info"]["general.architecture"] + ".context_length"] == 8192
    unknown = json.loads(ollama_show(ModelCard("x", None, None, 0, ())))
    assert unknown["capabilities"] == ["completion", "tools"]
    embedder = ModelCard("x", None, frozenset({"embedding"}), 0, ("a",))
    assert json.loads(ollama_show(embedder))["capabilities"] == ["embedding"]


def test_anthropics_list() -> None:
    listed = json.loads(anthropic_models([CARD]))
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, CARD.name, CARD.name)
    model = {"type": "model", "id": CARD.name, "display_name": CARD.name, "created_at": "2026-11-21T01:13:19Z"}
    assert listed["data"] == [model] == [json.loads(anthropic_model(CARD))]
    assert json.loads(anthropic_models([]))["first_id"] is None
