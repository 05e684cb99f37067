"""Errors: how each dialect writes them, how each server's are read, and whose fault they are."""

import re
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, encode
from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.errors import Fault

MAX_MESSAGE_CHARS = 500

_CONTEXT_CODES = frozenset({"exceed_context_size_error", "context_length_exceeded", "context_window_exceeded"})
_CONTEXT_TEXT = re.compile(
    r"maximum context length|exceeds? the (available )?context|input length exceeds|longer than the (maximum )?model"
    r"|context length exceeded|context window|max_model_len|prompt is too long",
    re.IGNORECASE,
)
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsible_ai_policy_violation"})
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def error_body(dialect: Dialect, info: ErrorInfo) -> bytes:
    """Return the body of an error answer as the dialect writes it."""
    if dialect == Dialect.OLLAMA:
        return encode({"error": info.message})
    code = None if info.code is None else str(info.code)
    return encode({"error": {"message": info.message, "type": info.kind, "param": info.param, "code": code}})


def fail_event(dialect: Dialect, info: ErrorInfo) -> bytes:
    """Return the event that tells, in mid-stream, that the answer broke."""
    if dialect == Dialect.OLLAMA:
        return error_body(dialect, info) + b"\n"
    return b"data: " + error_body(dialect, info) + b"\n\n"


def read_error(status: int, body: bytes) -> ErrorInfo:
    """Read what a node says of an error, in any of the forms that servers use; never raises.

    An error inside a stream that began with 200 carries its own status, if it is one, in `code`.
    """
    try:
        value = msgspec.json.decode(body)
    except BAD_JSON:
        return ErrorInfo(status, _plain_text(body) or _nameless(status), _KINDS.get(status, "api_error"))
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else ""
        return ErrorInfo(status, text[:MAX_MESSAGE_CHARS] or _nameless(status), _KINDS.get(status, "api_error"))
    return _from_object(status, error)


def _from_object(status: int, error: dict[str, Any]) -> ErrorInfo:
    code = error.get("code")
    if isinstance(code, bool) or not isinstance(code, (str, int)):
        code = None
    if status == 502 and isinstance(code, int) and 400 <= code < 600:
        status = code
    message = error.get("message", error.get("detail"))
    if message is not None and not isinstance(message, str):
        message = _validation_text(message)
    kind = error.get("type")
    param = error.get("param")
    return ErrorInfo(
        status=status,
        message=(message or _nameless(status))[:MAX_MESSAGE_CHARS],
        kind=kind if isinstance(kind, str) and kind else _KINDS.get(status, "api_error"),
        code=code,
        param=param if isinstance(param, str) else None,
    )


def _validation_text(detail: Any) -> str:
    """Return FastAPI's list of complaints as one line."""
    if isinstance(detail, list) and all(isinstance(item, dict) and "msg" in item for item in detail):
        return "; ".join(f"{'.'.join(map(str, item.get('loc') or ()))}: {item['msg']}" for item in detail)
    if isinstance(detail, dict) and isinstance(detail.get("message"), str):
        return str(detail["message"])
    return encode(detail).decode()


def _plain_text(body: bytes) -> str:
    text = _TAGS.sub(" ", body[: 16 * MAX_MESSAGE_CHARS].decode("utf-8", "replace"))
    return " ".join(text.split())[:MAX_MESSAGE_CHARS]


def _nameless(status: int) -> str:
    return f"The node answered with status {status} and said no more."


def fault_of(status: int, info: ErrorInfo) -> Fault:
    """Return whose fault an error answer is."""
    names = {str(info.code), info.kind}
    if names & _FILTER_CODES:
        return Fault.CONTENT_FILTER
    if names & _CONTEXT_CODES or (400 <= status < 500 and status != 429 and _CONTEXT_TEXT.search(info.message)):
        return Fault.CONTEXT
    if status in (401, 403):
        return Fault.DENIED
    if status in (404, 405, 501):  # 501: this node does not do it at all, such as embeddings switched off
        return Fault.NOT_FOUND
    if status == 429:
        return Fault.RATE_LIMITED
    if status in (408, 425) or status >= 500:
        return Fault.UNAVAILABLE
    return Fault.CALLER if 400 <= status < 500 else Fault.MALFORMED
