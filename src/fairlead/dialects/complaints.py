"""Why a request body was refused, in the words of each dialect. Only runs after strict decoding has failed."""

import re

import msgspec

from fairlead.dialects.common import decode_any
from fairlead.errors import BadRequestError

_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_MISSING = re.compile(r"missing required field `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_BYTE = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")

_PLAIN = {
    "array": "a list",
    "object": "an object",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}
_ADVICE = {
    "model": "name a model, or `auto`",
    "messages": "send a list of messages, each with `role` and `content`",
    "input": "send the text to embed, or a list of texts",
}
_GO = {"array": "array", "object": "object", "str": "string", "int": "number", "float": "number", "bool": "bool"}
_GO_WANTED = {"array": "[]interface {}", "object": "map[string]interface {}", "str": "string", "float": "float64"}
_GO_SYNTAX = {
    "object keys must be strings": "looking for beginning of object key string",
    "trailing comma in object": "looking for beginning of object key string",
    "trailing comma in array": "looking for beginning of value",
    "expected ',' or '}'": "after object key:value pair",
    "expected ',' or ']'": "after array element",
    "expected ':'": "after object key",
    "trailing characters": "after top-level value",
    "invalid escaped character": "in string escape code",
    "invalid number": "in numeric literal",
}


def missing(field: str) -> BadRequestError:
    """Return what an OpenAI caller reads who left a field out."""
    return BadRequestError(f"`{field}` is missing: {_ADVICE.get(field, 'add it to the body')}.", field)


def openai_complaint(error: Exception, body: bytes) -> BadRequestError:
    """Name the field, what it holds and what it should hold."""
    if not body.strip():
        return BadRequestError("The request has no body: send a JSON object.")
    if isinstance(error, RecursionError):
        return BadRequestError("The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return BadRequestError("The body is not valid UTF-8.")
    text = str(error)
    if found := _EXPECTED.match(text):
        wanted, got, path = found.groups()
        wanted = " or ".join(_PLAIN.get(word, word) for word in wanted.split(" | ") if word != "null")
        got = _PLAIN.get(got, got)
        if not path:
            return BadRequestError(f"The body must be {wanted}, not {got}.")
        return BadRequestError(f"`{path}` must be {wanted}, not {got}.", path)
    if found := _MISSING.search(text):
        field, path = found.groups()
        return missing(f"{path}.{field}" if path else field)
    if found := _BYTE.match(text):
        return BadRequestError(f"The body is not valid JSON: {found[1]} at byte {found[2]}.")
    return BadRequestError("The body is not valid JSON: it ends too early.")


def ollama_complaint(error: Exception, body: bytes, request: str) -> BadRequestError:
    """Say it as Ollama's JSON reader does; `request` is its name of the request, such as `ChatRequest`."""
    if not body.strip():
        return BadRequestError("missing request body")
    if isinstance(error, RecursionError):
        return BadRequestError("exceeded max depth")
    if isinstance(error, UnicodeDecodeError):
        return BadRequestError("invalid UTF-8 in request body")
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return _go_type_complaint(text, body, request)
    if found := _BYTE.match(text):
        at = int(found[2])
        char = body[at : at + 1].decode("latin-1")
        return BadRequestError(
            f"invalid character {char!r} {_GO_SYNTAX.get(found[1], 'looking for beginning of value')}"
        )
    return BadRequestError("unexpected EOF")


def _go_type_complaint(text: str, body: bytes, request: str) -> BadRequestError:
    found = _EXPECTED.match(text)
    if not found:
        return BadRequestError(text)
    wanted, got, path = found.groups()
    if not path:
        if got == "null" and decode_any(body) is None:
            return BadRequestError("model is required", "model")  # Go reads null as an empty request
        return BadRequestError(f"json: cannot unmarshal {_GO.get(got, got)} into Go value of type api.{request}")
    field = re.sub(r"\[[^\]]*\]", "", path)
    kind = wanted.split(" | ")[0]
    return BadRequestError(
        f"json: cannot unmarshal {_GO.get(got, got)} into Go struct field {request}.{field} "
        f"of type {_GO_WANTED.get(kind, kind)}",
        path,
    )
