"""The part of JSON Schema that answers of models are described with, and no more.

What is here: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`,
`anyOf`, `oneOf`, `allOf`, `not`, `$ref` within the document, and the limits on size and value. A schema with any other
keyword is refused when it is read, since half a check is worse than none. `format` only describes, as the standard has
it. Reference: JSON Schema 2020-12, core and validation.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.dialects.common import encode

MAX_DEPTH = 100

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
}
_LIMITS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool], str]] = {
    "minimum": ((int, float), lambda value, limit: value >= limit, "is below"),
    "maximum": ((int, float), lambda value, limit: value <= limit, "is above"),
    "exclusiveMinimum": ((int, float), lambda value, limit: value > limit, "is not above"),
    "exclusiveMaximum": ((int, float), lambda value, limit: value < limit, "is not below"),
    "minLength": (str, lambda value, limit: len(value) >= limit, "is shorter than"),
    "maxLength": (str, lambda value, limit: len(value) <= limit, "is longer than"),
    "pattern": (str, lambda value, limit: re.search(limit, value) is not None, "does not match"),
    "minItems": (list, lambda value, limit: len(value) >= limit, "has fewer items than"),
    "maxItems": (list, lambda value, limit: len(value) <= limit, "has more items than"),
    "minProperties": (dict, lambda value, limit: len(value) >= limit, "has fewer keys than"),
    "maxProperties": (dict, lambda value, limit: len(value) <= limit, "has more keys than"),
}
"""Keyword -> what it is about, when it holds, and what is said when it does not."""
_REMARKS = frozenset(
    (
        "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "format",
        "$schema", "$id", "$comment", "discriminator", "contentEncoding", "contentMediaType",
    )
)  # fmt: skip
_OF_SCHEMAS = frozenset(("properties", "$defs", "definitions"))
_LIST_OF_SCHEMAS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_ONE_SCHEMA = frozenset(("items", "additionalProperties", "not"))
_OTHERS = frozenset(("type", "enum", "const", "required", "uniqueItems", "$ref"))
_IN_PLACE = ("anyOf", "oneOf", "allOf", "not", "$ref")
"""What looks at the same value again."""
KEYWORDS = _REMARKS | _OF_SCHEMAS | _LIST_OF_SCHEMAS | _ONE_SCHEMA | _OTHERS | _LIMITS.keys()

Schema = Mapping[str, Any]


def _is_number(told: object) -> bool:
    return isinstance(told, (int, float)) and not isinstance(told, bool)


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "enum": (lambda told: isinstance(told, list) and bool(told), "a list of values"),
    "required": (lambda told: isinstance(told, list) and all(isinstance(one, str) for one in told), "a list of names"),
    "uniqueItems": (lambda told: isinstance(told, bool), "true or false"),
    "pattern": (lambda told: isinstance(told, str) and _compiles(told), "a regular expression"),
    **dict.fromkeys(_OF_SCHEMAS, (lambda told: isinstance(told, Mapping), "an object of schemas")),
    **dict.fromkeys(_LIST_OF_SCHEMAS, (lambda told: isinstance(told, list) and bool(told), "a list of schemas")),
    **dict.fromkeys(_LIMITS.keys() - {"pattern"}, (_is_number, "a number")),
}
"""Keyword -> what must follow it."""


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def schema_problem(schema: object, root: Schema | None = None, place: str = "#", depth: int = 0) -> str | None:
    """Say what is wrong with a schema, and where; None for one that `value_problem` understands in full."""
    if isinstance(schema, bool):
        return None
    if not isinstance(schema, Mapping):
        return f"{place}: a schema is an object, true or false"
    if depth > MAX_DEPTH:
        return f"{place}: nested more than {MAX_DEPTH} deep"
    root = schema if root is None else root
    for keyword, told in schema.items():
        problem = _keyword_problem(keyword, told, root)
        if problem is not None:
            return f"{place}: {problem}"
        for name, part in _parts(keyword, told):
            problem = schema_problem(part, root, f"{place}/{keyword}{name}", depth + 1)
            if problem is not None:
                return problem
    return None


def value_problem(schema: Schema | bool, value: Any, root: Schema | None = None, depth: int = 0) -> str | None:
    """Say where a value does not fit a schema that has no problem itself, and why; None where it fits."""
    if isinstance(schema, bool):
        return None if schema else "is not allowed here"
    if depth > MAX_DEPTH:
        return "is nested too deep"
    root = schema if root is None else root
    return (
        _plain_problem(schema, value)
        or _limit_problem(schema, value)
        or _choice_problem(schema, value, root, depth + 1)
        or (_object_problem(schema, value, root, depth + 1) if isinstance(value, dict) else None)
        or (_array_problem(schema, value, root, depth + 1) if isinstance(value, list) else None)
    )


# -- the schema itself


def _keyword_problem(keyword: str, told: Any, root: Schema) -> str | None:
    if keyword not in KEYWORDS:
        return f"the keyword {keyword!r} is not understood; there are: {', '.join(sorted(KEYWORDS - _REMARKS))}"
    if keyword == "type":
        unknown = [name for name in _names(told) if not isinstance(name, str) or name not in _TYPES]
        return f"there is no type {unknown[0]!r}; there are: {', '.join(_TYPES)}" if unknown else None
    if keyword == "$ref":
        found = _found(root, told)
        if found is None:
            return f"$ref {told!r} leads nowhere: it may be # or #/$defs/NAME"
        return f"$ref {told!r} leads back to itself" if _goes_round(found, root) else None
    if keyword in _FORMS and not _FORMS[keyword][0](told):
        return f"{keyword} takes {_FORMS[keyword][1]}"
    return None


def _goes_round(schema: Any, root: Schema, passed: tuple[int, ...] = ()) -> bool:
    """Tell whether a schema looks at one and the same value for ever."""
    if not isinstance(schema, Mapping):
        return False
    if id(schema) in passed:
        return True
    parts: list[Any] = []
    for keyword in _IN_PLACE:
        told = schema.get(keyword)
        parts += told if isinstance(told, list) else [_found(root, told) if keyword == "$ref" else told]
    return any(_goes_round(part, root, (*passed, id(schema))) for part in parts)


def _names(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]


def _parts(keyword: str, told: Any) -> list[tuple[str, Any]]:
    """Return the schemas that stand under a keyword."""
    if keyword in _OF_SCHEMAS:
        return [(f"/{name}", part) for name, part in told.items()]
    if keyword in _LIST_OF_SCHEMAS:
        return [(f"/{at}", part) for at, part in enumerate(told)]
    return [("", told)] if keyword in _ONE_SCHEMA else []


def _found(root: Schema, reference: Any) -> Schema | bool | None:
    """Return what a `$ref` means, or None; only what is sure to be a schema can be meant."""
    if reference == "#":
        return root
    path = reference[2:] if isinstance(reference, str) and reference.startswith("#/") else ""
    shelf, _, name = path.partition("/")
    shelved = root.get(shelf) if shelf in ("$defs", "definitions") else None
    found = shelved.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(shelved, Mapping) else None
    return found if isinstance(found, (Mapping, bool)) else None


# -- a value


def _plain_problem(schema: Schema, value: Any) -> str | None:
    if "type" in schema:
        names = _names(schema["type"])
        if not any(_TYPES[name](value) for name in names):
            return f"is no {' or '.join(names)}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"is not {schema['const']!r}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return "is none of the values allowed"
    return None


def _limit_problem(schema: Schema, value: Any) -> str | None:
    for keyword, limit in schema.items():
        if keyword in _LIMITS:
            kind, holds, told = _LIMITS[keyword]
            if isinstance(value, kind) and not isinstance(value, bool) and not holds(value, limit):
                return f"{told} {limit!r}"
    return None


def _choice_problem(schema: Schema, value: Any, root: Schema, depth: int) -> str | None:
    def fits(part: Schema | bool) -> bool:
        return value_problem(part, value, root, depth) is None

    if "$ref" in schema:
        meant = _found(root, schema["$ref"])
        problem = value_problem(False if meant is None else meant, value, root, depth)
        if problem is not None:
            return problem
    for part in schema.get("allOf", ()):
        problem = value_problem(part, value, root, depth)
        if problem is not None:
            return problem
    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        return "fits none of the alternatives"
    if "oneOf" in schema and sum(map(fits, schema["oneOf"])) != 1:
        return "does not fit exactly one of the alternatives"
    return "fits what it must not be" if "not" in schema and fits(schema["not"]) else None


def _object_problem(schema: Schema, value: dict[str, Any], root: Schema, depth: int) -> str | None:
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"lacks {missing[0]!r}"
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        problem = value_problem(known.get(name, others), item, root, depth)
        if problem is not None:
            return _at(f".{name}" if name in known else ".*", problem)  # a reason quotes the schema, never the answer
    return None


def _array_problem(schema: Schema, value: list[Any], root: Schema, depth: int) -> str | None:
    first = schema.get("prefixItems", ())
    rest = schema.get("items", True)
    for at, item in enumerate(value):
        problem = value_problem(first[at] if at < len(first) else rest, item, root, depth)
        if problem is not None:
            return _at(f"[{at}]", problem)
    if schema.get("uniqueItems") and len({encode(item, order="sorted") for item in value}) < len(value):
        return "has an item twice"
    return None


def _at(place: str, problem: str) -> str:
    return f"{place}{problem}" if problem.startswith((".", "[")) else f"{place} {problem}"


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: 1 is 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[name]) for name, item in one.items())
    return bool(one == other)
