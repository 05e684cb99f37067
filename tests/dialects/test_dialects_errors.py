"""Errors: every server's shape is read, and it is known whose fault they are."""

import json

import pytest
from dialects_shared import OLLAMA, OPENAI
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import ErrorInfo, error_body, fault_of, read_error
from fairlead.errors import Fault


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            b'{"error":{"message":"no such","type":"not_found_error","param":"model","code":"model_not_found"}}',
            ErrorInfo(404, "no such", "not_found_error", "model_not_found", "model"),
        ),
        (
            400,
            b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":512}}',
            ErrorInfo(400, "too long", "exceed_context_size_error", 400),
        ),
        (
            400,
            b'{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}',
            ErrorInfo(400, "bad", "BadRequestError", 400),
        ),
        (404, b'{"error":"model \'nope\' not found"}', ErrorInfo(404, "model 'nope' not found", "not_found_error")),
        (401, b'{"detail":"Not authenticated"}', ErrorInfo(401, "Not authenticated", "authentication_error")),
        (
            422,
            b'{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"}]}',
            ErrorInfo(422, "body.model: field required"),
        ),
        (502, b"<html><style>p{}</style><h1>502 Bad\nGateway</h1></html>", ErrorInfo(502, "502 Bad Gateway")),
        (500, b"", ErrorInfo(500, "The node answered with status 500 and said no more.")),
        (500, b"[]", ErrorInfo(500, "The node answered with status 500 and said no more.")),
        (500, b"x" * 900, ErrorInfo(500, "x" * 500)),
        (404, b"404 page not found", ErrorInfo(404, "404 page not found", "not_found_error")),
    ],
)
def test_every_servers_error_is_read(status: int, body: bytes, expected: ErrorInfo) -> None:
    assert read_error(status, body) == expected


@given(st.integers(400, 599), st.binary(max_size=200))
def test_reading_an_error_never_fails(status: int, body: bytes) -> None:
    info = read_error(status, body)
    assert info.message
    assert fault_of(status, info)
    assert json.loads(error_body(OPENAI, info))["error"]["message"] == info.message


def test_each_dialect_has_its_own_shape() -> None:
    info = ErrorInfo(400, "bad", "invalid_request_error", 400, "model")
    assert error_body(OPENAI, info) == (
        b'{"error":{"message":"bad","type":"invalid_request_error","param":"model","code":"400"}}'
    )
    assert error_body(OLLAMA, info) == b'{"error":"bad"}'


@pytest.mark.parametrize(
    ("status", "message", "code", "fault"),
    [
        (400, "bad", None, Fault.CALLER),
        (413, "big", None, Fault.CALLER),
        (422, "bad", None, Fault.CALLER),
        (400, "no", "content_filter", Fault.CONTENT_FILTER),
        (400, "long", "context_length_exceeded", Fault.CONTEXT),
        (400, "This model's maximum context length is 512 tokens", None, Fault.CONTEXT),
        (400, "the request exceeds the available context size", None, Fault.CONTEXT),
        (400, "input length exceeds the context length", None, Fault.CONTEXT),
        (401, "key", None, Fault.DENIED),
        (403, "key", None, Fault.DENIED),
        (404, "model", None, Fault.NOT_FOUND),
        (501, "This server does not support embeddings", None, Fault.NOT_FOUND),
        (429, "slow", None, Fault.RATE_LIMITED),
        (408, "slow", None, Fault.UNAVAILABLE),
        (425, "early", None, Fault.UNAVAILABLE),
        (500, "oops", None, Fault.UNAVAILABLE),
        (503, "full", None, Fault.UNAVAILABLE),
    ],
)
def test_whose_fault(status: int, message: str, code: str | None, fault: Fault) -> None:
    assert fault_of(status, ErrorInfo(status, message, code=code)) is fault


def test_llamacpps_context_error_is_known_by_its_type() -> None:
    body = b'{"error":{"code":400,"message":"x","type":"exceed_context_size_error","n_prompt_tokens":900,"n_ctx":512}}'
    assert fault_of(400, read_error(400, body)) is Fault.CONTEXT
