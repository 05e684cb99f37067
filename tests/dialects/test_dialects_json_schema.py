"""The subset of JSON Schema: what fits, what does not and where, and that nothing unknown is passed over."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects.json_schema import KEYWORDS, schema_problem, value_problem

TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
FITS: list[tuple[Any, Any]] = [
    ({}, None),
    (True, 1),
    ({"type": "integer"}, 1.0),
    ({"type": ["string", "null"]}, None),
    ({"enum": [1, "a"]}, 1.0),
    ({"const": {"a": [1]}}, {"a": [1.0]}),
    ({"minimum": 1, "exclusiveMaximum": 2}, 1.5),
    ({"minimum": 5}, "text is no number, so a limit on numbers says nothing of it"),
    ({"minimum": 5}, False),
    ({"minLength": 2, "pattern": "^a"}, "ab"),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["a", 1, 2]),
    ({"uniqueItems": True}, [1, "1"]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
    ({"oneOf": [{"minimum": 3}, {"maximum": 1}]}, 4),
    ({"not": {"type": "null"}}, 0),
    ({"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}, {"a": 1, "b": "x"}),
    (TREE, {"name": "a", "parts": [{"name": "b", "parts": []}]}),
    ({"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, None),
    ({"definitions": {"any": {}}, "$ref": "#/definitions/any"}, 1),
    ({"format": "date", "title": "T", "description": "D", "default": 3}, "not a date at all"),
]
MISFITS: list[tuple[Any, Any, str]] = [
    (False, 1, "not allowed"),
    ({"type": "integer"}, True, "is no integer"),
    ({"type": "integer"}, 1.5, "is no integer"),
    ({"type": "number"}, "1", "is no number"),
    ({"type": ["string", "null"]}, 1, "no string or null"),
    ({"enum": [1]}, True, "none of the values"),
    ({"const": [1]}, [1, 1], "is not [1]"),
    ({"minimum": 1}, 0.5, "is below 1"),
    ({"exclusiveMinimum": 1}, 1, "not above 1"),
    ({"maxLength": 1}, "ab", "longer than 1"),
    ({"pattern": "^a"}, "ba", "does not match"),
    ({"minItems": 1}, [], "fewer items"),
    ({"maxProperties": 0}, {"a": 1}, "more keys"),
    ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], "twice"),
    ({"prefixItems": [{}], "items": False}, [1, 2], "[1] is not allowed"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "none of the alternatives"),
    ({"oneOf": [{"minimum": 3}, {"minimum": 1}]}, 4, "exactly one"),
    ({"allOf": [{"minimum": 3}, {"maximum": 1}]}, 4, "is above 1"),
    ({"not": {"type": "null"}}, None, "must not be"),
    ({"required": ["a"]}, {}, "lacks 'a'"),
    ({"properties": {"a": {"items": {"type": "null"}}}}, {"a": [None, 1]}, ".a[1] is no null"),
    (TREE, {"name": "a", "parts": [{"parts": []}]}, ".parts[0] lacks 'name'"),
    (TREE, {"name": "a", "size": 1}, ".* is not allowed"),
]
BROKEN: list[tuple[Any, str]] = [
    (3, "a schema is an object"),
    ({"typ": "object"}, "'typ' is not understood"),
    ({"properties": {"a": {"dependentRequired": {}}}}, "#/properties/a: the keyword 'dependentRequired'"),
    ({"items": {"anyOf": [{}, {"if": {}}]}}, "#/items/anyOf/1: the keyword 'if'"),
    ({"type": "int"}, "no type 'int'"),
    ({"type": ["string", {}]}, "no type {}"),
    ({"enum": []}, "enum takes a list"),
    ({"required": "a"}, "required takes a list"),
    ({"minimum": "1"}, "minimum takes a number"),
    ({"maxItems": True}, "maxItems takes a number"),
    ({"pattern": "("}, "pattern takes a regular expression"),
    ({"anyOf": {}}, "anyOf takes a list"),
    ({"properties": []}, "properties takes an object"),
    ({"items": [{}]}, "#/items: a schema is an object"),
    ({"$ref": "#/$defs/A"}, "leads nowhere"),
    ({"$ref": "http://example.org/a.json"}, "leads nowhere"),
    ({"$ref": "a#/$defs/b", "$defs": {"b": {}}}, "leads nowhere"),
    ({"$ref": "#/properties", "properties": {"type": {}}}, "leads nowhere"),
    ({"$ref": "#"}, "leads back to itself"),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {}]}}}, "leads back to itself"),
]


@pytest.mark.parametrize(("schema", "value"), FITS)
def test_fits(schema: Any, value: Any) -> None:
    assert schema_problem(schema) is None
    assert value_problem(schema, value) is None


@pytest.mark.parametrize(("schema", "value", "said"), MISFITS)
def test_does_not_fit(schema: Any, value: Any, said: str) -> None:
    assert schema_problem(schema) is None
    assert said in (value_problem(schema, value) or "")


@pytest.mark.parametrize(("schema", "said"), BROKEN)
def test_schemas_that_are_none(schema: Any, said: str) -> None:
    assert said in (schema_problem(schema) or "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
SCHEMA_LIKE = st.recursive(
    JSON | st.sampled_from(["object", "array", "string", "integer", "#", "#/$defs/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(KEYWORDS)), inner, max_size=4),
    max_leaves=12,
)


@given(SCHEMA_LIKE, JSON)
def test_a_schema_without_a_problem_judges_every_value(schema: Any, value: Any) -> None:
    if schema_problem(schema) is None:
        assert value_problem(schema, value) is None or value_problem(schema, value)
        root = schema if isinstance(schema, dict) else None
        assert (value_problem({"not": schema}, value, root) is None) == (value_problem(schema, value) is not None)


@given(JSON)
def test_every_value_fits_its_own_description(value: Any) -> None:
    schema = described(value)
    assert schema_problem(schema) is None
    assert value_problem(schema, json.loads(json.dumps(value))) is None


@given(JSON, JSON)
def test_const_is_equality(one: Any, other: Any) -> None:
    fits = value_problem({"const": one}, other) is None
    assert fits == (value_problem({"const": other}, one) is None)
    assert fits == (value_problem({"enum": [one]}, other) is None)
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert fits


def described(value: Any) -> dict[str, Any]:
    """Return the narrowest schema that the subset has for a value."""
    if isinstance(value, dict):
        parts = {name: described(item) for name, item in value.items()}
        return {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    if isinstance(value, list):
        schema = {"type": "array", "minItems": len(value), "maxItems": len(value), "items": False}
        return schema | ({"prefixItems": [described(item) for item in value]} if value else {})
    return {"const": value}


def test_a_deep_value_ends() -> None:
    schema = {"type": ["array", "null"], "items": {"$ref": "#"}}
    assert schema_problem(schema) is None
    value: Any = None
    for _ in range(300):
        value = [value]
    assert "too deep" in (value_problem(schema, value) or "")
