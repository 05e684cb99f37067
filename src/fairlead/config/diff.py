"""What differs between two configurations, in words that never give a secret away, and when each change applies.

Nodes, models, keys and cascades are compared by name, so their order says nothing; everything else is compared key by
key. Of a secret, a command or the path of an address it is told only that it changed: a command's arguments and a
path may carry a key too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from fairlead.config.addresses import split_url
from fairlead.config.schema import Config, KeyConfig, ServedModel
from fairlead.config.secret import Secret

AFTER_RESTART = (
    "listen",
    "unix_socket",
    "seed",
    "state",
    "queue",
    "load_balancer",
    "load_measure",
    "prefix",
    "scaling",
    "circuit_breaker",
    "health",
    "half_life_s",
)
"""Settings that a running gateway keeps: sockets, files, and what learnt state was built with."""
_BY_NAME = {"nodes": "node", "models": "model", "cascades": "cascade", "keys": "key"}
_MAPPINGS = {"groups": "group", "aliases": "alias", "fallbacks": "fallback"}
_NEVER_SHOWN = ("command", "key_sha256")
_LONGEST_SHOWN = 80
_SHORTEST_SECRET = 4
"""Shorter secrets are not looked for in other texts: they would be found everywhere."""


class Applies(StrEnum):
    """When a change takes effect."""

    NOW = "now"
    RESTART = "after a restart"


class Verb(StrEnum):
    """What became of something."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


_SIGNS = {Verb.ADDED: "+", Verb.REMOVED: "-", Verb.CHANGED: "~"}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs."""

    verb: Verb
    subject: str = ""
    """What it is part of, such as `node gpu-1`; empty for a setting of the whole."""
    key: str = ""
    """Dotted, below the subject; empty where the whole subject came, went or changed."""
    before: str | None = None
    after: str | None = None
    """None where it must not be shown, or is too long."""
    applies: Applies = Applies.NOW

    def line(self) -> str:
        """Return it in one line, such as `~ node gpu-1: weight 1 -> 2`."""
        subject = f"{self.subject}:" if self.subject and (self.key or self.verb is Verb.CHANGED) else self.subject
        if self.applies is Applies.RESTART:
            return f"! {' '.join(filter(None, (subject, self.key)))}: needs a restart"
        words = [_SIGNS[self.verb], subject, self.key]
        if self.verb is Verb.CHANGED:
            is_shown = self.before is not None and self.after is not None
            words.append(f"{self.before} -> {self.after}" if is_shown else "changed")
        return " ".join(filter(None, words))


class Difference(msgspec.Struct, frozen=True):
    """All that differs, in the order of the configuration; false where nothing does."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def lines(self) -> tuple[str, ...]:
        """Return one line for each change: + came, - went, ~ changed, ! needs a restart."""
        return tuple(change.line() for change in self.changes)


def difference(old: Config, new: Config) -> Difference:
    """Return what would change if `new` took the place of `old`."""
    hushed = _secrets(old) | _secrets(new)
    changes: list[Change] = []
    for field in old.__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        if before == after:
            continue
        if field in _BY_NAME:
            changes += _named(_BY_NAME[field], {one.name: one for one in before}, {one.name: one for one in after})
        elif field in _MAPPINGS:
            changes += _named(_MAPPINGS[field], before, after)
        else:
            applies = Applies.RESTART if field in AFTER_RESTART else Applies.NOW
            changes += [_changed("", *part, applies) for part in _parts(field, before, after)]
    changes += _shares(old.keys, new.keys)
    return Difference(tuple(_hush(change, hushed) for change in changes))


def applicable(old: Config, new: Config) -> Config:
    """Return `new` with what a running gateway keeps until it is started again as it was in `old`."""
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in AFTER_RESTART})


def _named(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield Change(verb=Verb.REMOVED, subject=f"{what} {name}")
    for name, after in new.items():
        subject = f"{what} {name}"
        if name not in old:
            yield Change(verb=Verb.ADDED, subject=subject)
            continue
        for part in _parts("", old[name], after):
            if part[0] != "share":  # told of by `_shares`
                yield _changed(subject, *part)


def _changed(subject: str, key: str, before: str | None, after: str | None, applies: Applies = Applies.NOW) -> Change:
    return Change(verb=Verb.CHANGED, subject=subject, key=key, before=before, after=after, applies=applies)


def _parts(key: str, old: Any, new: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """Give each part that differs, as far down as both sides have parts: its dotted key, before and after."""
    if old == new:
        return
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        for field in msgspec.structs.fields(old):
            yield from _parts(_below(key, field.encode_name), getattr(old, field.name), getattr(new, field.name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _parts(_below(key, str(name)), old.get(name), new.get(name))
    else:
        yield key, _shown(key, old), _shown(key, new)


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(key: str, value: Any) -> str | None:
    """Return a value as people write it; None for one that is not to be shown."""
    last = key.rpartition(".")[2]
    if last in _NEVER_SHOWN or isinstance(value, (Secret, dict)):
        return None
    text = _origin(value) if last == "url" else _text(value)
    return text if text is not None and len(text) <= _LONGEST_SHOWN and text.isprintable() else None


def _text(value: Any) -> str | None:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    if isinstance(value, ServedModel):
        return value.public if value.public == value.name else f"{value.name} as {value.public}"
    if isinstance(value, (tuple, frozenset)):
        parts = [_text(one) for one in (sorted(value) if isinstance(value, frozenset) else value)]
        return None if None in parts else f"[{', '.join(map(str, parts))}]"
    return None if isinstance(value, msgspec.Struct) else str(value)


def _origin(url: Any) -> str | None:
    """Return where an address leads, without its path."""
    try:
        parts = split_url(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _shares(old: Sequence[KeyConfig], new: Sequence[KeyConfig]) -> Iterator[Change]:
    """Tell of tenants' shares: the queue is built with them, so they change with a restart."""
    before = {key.name: key.share for key in old}
    for key in new:
        if key.share != before.get(key.name, 1.0):
            yield _changed(f"key {key.name}", "share", None, None, Applies.RESTART)


def _hush(change: Change, hushed: Iterable[str]) -> Change:
    """Show neither side of a change where a secret stands in one of them, and not what did not seem to change."""
    said = f"{change.before}\n{change.after}"
    if change.before == change.after or any(secret in said for secret in hushed):
        return msgspec.structs.replace(change, before=None, after=None)
    return change


def _secrets(config: Config) -> set[str]:
    keys = [secret for node in config.nodes for secret in (node.api_key, *node.headers.values())]
    keys += [key.key for key in config.keys]
    return {text for key in keys if key is not None and len(text := key.reveal()) >= _SHORTEST_SECRET}
