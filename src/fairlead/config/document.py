"""YAML text as a tree that knows its lines."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from fairlead.config.problems import Problems
from fairlead.errors import ConfigError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STANDARD_TAGS = "tag:yaml.org,2002:"
_DEEPEST = 50
_MERGE_TAG = _STANDARD_TAGS + "merge"


def compose(text: str, source: str) -> yaml.Node | None:
    """Parse one YAML document, None for an empty one; raises ConfigError naming the line."""
    try:
        _require_shallow(text, source)
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        last = text.count("\n", 0, -1) + 1  # the parser may point behind the end
        raise _error(source, min(line, last), _said(error) + _listen_hint(text)) from None
    except yaml.YAMLError:
        raise _error(source, 1, "the file holds characters that are no text") from None
    return node


def _require_shallow(text: str, source: str) -> None:
    # composing recurses, in C without a limit: deep nesting would end the process
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _error(source, 1, "it is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _error(source: str, line: int, reason: str) -> ConfigError:
    problems = Problems()
    problems.note(line, f"cannot be read as YAML: {reason}")
    return problems.error(source)


def _said(error: yaml.MarkedYAMLError) -> str:
    # the parser quotes names and characters of the file, which may be part of a secret
    return re.sub(r"\s*(['\"]).*\1", "", error.problem or "it breaks off", flags=re.DOTALL)


def _listen_hint(text: str) -> str:
    unquoted = re.search(r"^\s*listen:\s*\[", text, re.MULTILINE)
    return '; an IPv6 address needs quotes: "[::1]:8400"' if unquoted else ""


def line_of(node: yaml.Node) -> int:
    """Return the line, from 1, on which a node begins."""
    return int(node.start_mark.line) + 1


def has_foreign_tag(node: yaml.Node) -> bool:
    """Tell whether somebody put a tag such as `!env` before a value."""
    return not node.tag.startswith(_STANDARD_TAGS)


def is_null(node: yaml.Node) -> bool:
    """Tell whether nothing is written where a value could stand."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value.lower() in {"", "~", "null"}


def entries(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Give the keys and values as written, then those merged in by `<<: *other` that are not overridden."""
    taken: set[str] = set()
    for key, value in node.value:
        if key.tag != _MERGE_TAG:
            taken.add(str(key.value))
            yield key, value
    for key, value in node.value:
        if key.tag == _MERGE_TAG:
            yield from _merged(value, taken)


def _merged(value: yaml.Node, taken: set[str]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
        for key, merged in source.value if isinstance(source, yaml.MappingNode) else []:
            if key.tag != _MERGE_TAG and str(key.value) not in taken:
                taken.add(str(key.value))
                yield key, merged
