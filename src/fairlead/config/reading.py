"""From a YAML tree to values of a type, keeping every problem found on the way with its line."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import yaml
from msgspec import inspect as kinds

from fairlead.config.document import entries, has_foreign_tag, is_null, line_of
from fairlead.config.expand import expand
from fairlead.config.problems import Part, Path, Problems, Written, hint
from fairlead.config.scalars import expected, parse, suggestion
from fairlead.config.schema import ServedModel
from fairlead.config.secret import Secret
from fairlead.routing.config import SettingError

BAD: Any = object()
"""Stands for a value that could not be read; its problem has been noted."""

_LISTS = (kinds.VarTupleType, kinds.FrozenSetType)


class Reader:
    """Reads one document by a type; what is wrong goes to `problems`, and the rest is read on."""

    def __init__(self, problems: Problems, env: Mapping[str, str]) -> None:
        self._problems = problems
        self._env = env
        self._lines: dict[Path, int] = {}
        self._kept: dict[Path, list[int]] = {}

    def line_of(self, path: Path) -> int:
        """Return the line of a value, or of the nearest thing round it."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def written_path(self, path: Path) -> Path:
        """Turn positions among the items that could be read into positions in the file."""
        written: Path = ()
        for part in path:
            kept = self._kept.get(written, [])
            written += (kept[part] if isinstance(part, int) and part < len(kept) else part,)
        return written

    def read(self, node: yaml.Node, wanted: kinds.Type, path: Path) -> Any:
        """Return the value, or BAD once its problem is noted; whatever holds the value of `path` is never BAD."""
        self._lines[path] = line_of(node)
        if isinstance(wanted, kinds.UnionType):
            wanted = next(kind for kind in wanted.types if not isinstance(kind, kinds.NoneType))
        if has_foreign_tag(node):
            return self._bad(path, "tags such as !this are not understood; write the value itself")
        if isinstance(wanted, kinds.AnyType):
            return self._free(node, path)
        if isinstance(wanted, kinds.StructType):
            return self._struct(node, wanted, path)
        if isinstance(wanted, kinds.DictType):
            return self._dict(node, wanted, path)
        if isinstance(wanted, _LISTS):
            return self._list(node, wanted, path)
        return self._scalar(node, wanted, path)

    def _bad(self, path: Path, *parts: Part) -> Any:
        self._problems.note(self.line_of(path), *((path, ": ") if path else ()), *parts)
        return BAD

    def _struct(self, node: yaml.Node, wanted: kinds.StructType, path: Path) -> Any:
        if wanted.cls is ServedModel and isinstance(node, yaml.ScalarNode):
            name = self._scalar(node, kinds.StrType(min_length=1), path)
            return BAD if name is BAD else ServedModel(name=name)
        before = len(self._problems)
        fields = {field.encode_name: field for field in wanted.fields}
        pairs = self._pairs(node, path, fields)
        values = {
            fields[key].name: self.read(value, fields[key].type, (*path, key))
            for key, value in pairs.items()
            if not is_null(value)
        }
        if isinstance(node, yaml.MappingNode):
            for key, field in fields.items():
                if field.required and field.name not in values:
                    self._bad(path, f'the key "{key}" is missing')
        if len(self._problems) > before and path:
            return BAD
        try:
            return wanted.cls(**{name: value for name, value in values.items() if value is not BAD})
        except SettingError as error:  # each value is right, and together they are not
            return self._bad(path if path[-1:] == (error.key,) else (*path, error.key), error.reason)

    def _pairs(self, node: yaml.Node, path: Path, known: Collection[str] | None = None) -> dict[str, yaml.Node]:
        """Return what each key says; those that are unknown, written twice or no words are noted and left out."""
        if not isinstance(node, yaml.MappingNode):
            self._bad(path, "expected keys with values, ", *_found(node))
            return {}
        pairs: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        inside: tuple[Part, ...] = (" in ", path) if path else ()
        for key_node, value in entries(node):
            key, line = Written(key_node.value), line_of(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or not key:
                self._problems.note(line, "expected a word as key", *inside)
            elif key in lines:
                self._problems.note(line, "the key ", key, f" is written twice, first on line {lines[key]}", *inside)
            elif known is not None and key not in known:
                self._problems.note(line, "unknown key ", key, *inside, hint(key, known))
            else:
                pairs[key if known is None else str(key)] = value
            lines.setdefault(key, line)
        return pairs

    def _dict(self, node: yaml.Node, wanted: kinds.DictType, path: Path) -> Any:
        of_enum = wanted.key_type.cls if isinstance(wanted.key_type, kinds.EnumType) else None
        pairs = self._pairs(node, path, [str(member) for member in of_enum] if of_enum else None)
        values = {key: self.read(value, wanted.value_type, (*path, key)) for key, value in pairs.items()}
        return {of_enum(key) if of_enum else str(key): value for key, value in values.items() if value is not BAD}

    def _list(self, node: yaml.Node, wanted: Any, path: Path) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._bad(path, "expected a list, ", *_found(node))
        values = [self.read(item, wanted.item_type, (*path, place)) for place, item in enumerate(node.value)]
        self._kept[path] = [place for place, value in enumerate(values) if value is not BAD]
        good = [value for value in values if value is not BAD]
        return frozenset(good) if isinstance(wanted, kinds.FrozenSetType) else tuple(good)

    def _free(self, node: yaml.Node, path: Path) -> Any:
        """Return a part of free form, such as a JSON schema: plain words that are JSON mean what JSON says."""
        if isinstance(node, yaml.MappingNode):
            pairs = self._pairs(node, path)
            return {str(key): self._free(value, (*path, key)) for key, value in pairs.items()}
        if isinstance(node, yaml.SequenceNode):
            return [self._free(item, (*path, place)) for place, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and not node.style:  # what is quoted is text
            try:
                return msgspec.json.decode(node.value)
            except msgspec.DecodeError:
                pass
        return str(node.value)

    def _scalar(self, node: yaml.Node, wanted: kinds.Type, path: Path) -> Any:
        secret = isinstance(wanted, kinds.CustomType)
        if not isinstance(node, yaml.ScalarNode) or is_null(node):
            return self._bad(path, f"expected {expected(wanted)}, ", *_found(node))
        if secret:
            self._problems.hush(node.value)
        try:
            text, given = expand(node.value, self._env)
        except ValueError as error:
            return self._bad(path, str(error))
        for value in (*given, *((text,) if secret else ())):
            self._problems.hush(value)
        if secret:
            return Secret(text) if text else self._bad(path, "expected a text that is not empty")
        try:
            return parse(text, wanted)
        except ValueError:
            found = Written(text) if text else "an empty text"
            return self._bad(path, f"expected {expected(wanted)}, not ", found, suggestion(text, wanted))


def _found(node: yaml.Node) -> tuple[Part, ...]:
    if is_null(node):
        return ("but nothing is written here",)
    if isinstance(node, yaml.ScalarNode):
        return "not ", Written(node.value)
    return ("but a list stands here",) if isinstance(node, yaml.SequenceNode) else ("but keys with values stand here",)
