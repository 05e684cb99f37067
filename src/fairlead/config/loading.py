"""A file, or its text, into a `Config`."""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path as FilePath

from msgspec import inspect as kinds

from fairlead.config.checks import Finding, findings
from fairlead.config.document import compose, is_null
from fairlead.config.problems import Problems
from fairlead.config.reading import Reader
from fairlead.config.schema import Config
from fairlead.errors import ConfigError

_LARGEST_BYTES = 4 * 2**20
_EMPTY = "there are no nodes; add at least: nodes: [{url: http://127.0.0.1:11434}]"


Look = Callable[[Config], Iterable[Finding]]
"""Looks at what could be read of a configuration, and gives what is wrong with it."""


def _nothing(config: Config) -> Iterable[Finding]:
    del config
    return ()


def load(path: FilePath, env: Mapping[str, str] | None = None, look: Look = _nothing) -> Config:
    """Read a file; `env` stands for the process's environment, and `look` adds to what is checked.

    Raises ConfigError with every problem, a line each.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(data) > _LARGEST_BYTES:
        raise ConfigError(f"{path}: cannot be read: it is larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: it is not UTF-8 text") from None
    return loads(text, str(path), env, look)


def loads(
    text: str,
    source_name: str = "configuration",
    env: Mapping[str, str] | None = None,
    look: Look = _nothing,
) -> Config:
    """Read YAML text as `load` does; `source_name` is what errors call it."""
    problems = Problems()
    reader = Reader(problems, os.environ if env is None else env)
    tree = compose(text, source_name)
    config = Config()
    if tree is not None and not is_null(tree):
        read = reader.read(tree, kinds.type_info(Config), ())
        config = read if isinstance(read, Config) else config
    whole = not problems
    for path, parts in chain(findings(config, members=whole), look(config)):
        written = reader.written_path(path)
        said = [reader.written_path(part) if isinstance(part, tuple) else part for part in parts]
        problems.note(reader.line_of(written), written, ": ", *said)
    if not config.nodes and not problems:
        problems.note(reader.line_of(("nodes",)), _EMPTY)
    if problems:
        raise problems.error(source_name)
    return config


def validate(config: Config, source_name: str = "configuration") -> Config:
    """Return a configuration built in a program; raises ConfigError naming all parts that do not fit together."""
    problems = Problems()
    for path, parts in findings(config):
        problems.note(0, path, ": ", *parts)
    if problems:
        raise problems.error(source_name)
    return config
