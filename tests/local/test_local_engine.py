"""What the real engine does on the wire: the habits that the gateway is written for."""

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from fairlead.local.process import LocalServer

ASK = [{"role": "user", "content": "Say hello."}]


def send(server: LocalServer, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection(server.host, server.port, timeout=60)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_it_chats(full: LocalServer) -> None:
    status, headers, body = send(full, "/v1/chat/completions", {"messages": ASK, "max_tokens": 8})
    answer = json.loads(body)
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == ""  # no web page may read this
    assert answer["model"] == full.alias == "smollm2:135m"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] > 0


def test_it_streams_with_usage_at_the_end(full: LocalServer) -> None:
    body = {"messages": ASK, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
    _, headers, answer = send(full, "/v1/chat/completions", body)
    events = [line.removeprefix(b"data: ") for line in answer.split(b"\n") if line]
    assert headers["Content-Type"] == "text/event-stream"
    assert events[-1] == b"[DONE]"
    assert json.loads(events[0])["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert json.loads(events[-2])["choices"] == []
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 4


def test_it_takes_tools_and_holds_to_a_schema(full: LocalServer) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    status, _, _ = send(full, "/v1/chat/completions", {"messages": ASK, "max_tokens": 4, "tools": [tool]})
    assert status == 200
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    body = {"messages": ASK, "max_tokens": 60, "response_format": wanted}
    answer = json.loads(send(full, "/v1/chat/completions", body)[2])
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["ok"], bool)


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(full: LocalServer) -> None:
    long = [{"role": "user", "content": "word " * 2000}]
    status, _, body = send(full, "/v1/chat/completions", {"messages": long})
    error = json.loads(body)["error"]
    assert status == 400
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] > error["n_ctx"] == 512  # for each task, not shared among them


def test_it_tells_its_load(full: LocalServer) -> None:
    assert b"llamacpp:requests_processing" in send(full, "/metrics")[2]
    assert [slot["is_processing"] for slot in json.loads(send(full, "/slots")[2])] == [False, False]


def test_it_speaks_the_other_dialects(full: LocalServer) -> None:
    message = json.loads(send(full, "/v1/messages", {"model": "m", "messages": ASK, "max_tokens": 4})[2])
    assert message["type"] == "message"
    counted = json.loads(send(full, "/v1/messages/count_tokens", {"model": "m", "messages": ASK})[2])
    assert counted["input_tokens"] > 0
    response = json.loads(send(full, "/v1/responses", {"model": "m", "input": "Say hello.", "max_output_tokens": 4})[2])
    assert response["object"] == "response"
    assert send(full, "/api/tags")[0] == 404


def test_embeddings_only_where_asked_for(full: LocalServer, replica: Path) -> None:
    assert send(full, "/v1/embeddings", {"input": "hello"})[0] == 501
    with LocalServer.start(replica, embeddings=True) as server:
        vectors = json.loads(send(server, "/v1/embeddings", {"input": ["hello", "world"]})[2])["data"]
        assert [len(row["embedding"]) for row in vectors] == [576, 576]
        assert send(server, "/v1/chat/completions", {"messages": ASK, "max_tokens": 2})[0] == 200
