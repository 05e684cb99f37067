"""Pages of metrics in Prometheus's text format: the few wanted numbers out of hundreds of lines.

A page of 500 lines takes prometheus-client's parser about 12 ms, and a third of one once only the wanted lines are
left: so these are found first.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, cast

from fairlead.polling.told import READERS, PollError, Told, shown

_MAX_LINES = 2000
_REPLICA_LABELS = ("engine", "dp_rank")
"""Engines side by side, each with its own queue and cache; other labels tell of the same thing again."""
_AVERAGED = ("utilization", "cached_share")
_SUMMED = ("cached_hits", "cached_queries")


class Sample(NamedTuple):
    """One line of a page, its name without the server's prefix."""

    name: str
    labels: dict[str, str]
    value: float


class MetricsTable:
    """Which metric of a server is which field of a report; of two names for one field the first found counts.

    Names are written without the prefix that all metrics of the server have.
    """

    def __init__(self, server: str, prefix: str, fields: dict[str, str], extra: Iterable[str] = ()) -> None:
        self._server = server
        self._prefix = prefix
        self._fields = fields
        names = "|".join(map(re.escape, (*fields, *extra)))
        self._wanted = re.compile(rf"^{re.escape(prefix)}(?:{names})[{{ \t].*$".encode(), re.MULTILINE)

    def read(self, body: bytes) -> tuple[Told, list[Sample]]:
        """Return what a page tells, and the wanted samples. Raises PollError where it has none of them."""
        samples = self._samples(body)
        told: dict[str, float] = {}
        for name, field in self._fields.items():
            if field not in told:
                value = READERS[field](_joined(field, [sample for sample in samples if sample.name == name]))
                if value is not None:
                    told[field] = value
        return cast("Told", told), samples

    def _samples(self, body: bytes) -> list[Sample]:
        lines = self._wanted.findall(body) if self._prefix.encode() in body else []
        if not lines:
            raise PollError(f"holds none of {self._server}'s numbers but {shown(body)}")
        if len(lines) > _MAX_LINES:
            raise PollError(f"holds {len(lines)} lines where {self._server} has a few")
        from prometheus_client.parser import text_string_to_metric_families

        try:
            families = list(text_string_to_metric_families(b"\n".join(lines).decode()))
        except (ValueError, LookupError) as error:
            raise PollError(f"holds a line that is no metric: {str(error)[:100]}") from None
        own = len(self._prefix)
        return [Sample(one.name[own:], one.labels, one.value) for family in families for one in family.samples]


def _joined(field: str, samples: list[Sample]) -> float | None:
    """Make one number of those of several engines: counts are summed, shares averaged."""
    if not samples:
        return None
    if field in _SUMMED:
        return sum(sample.value for sample in samples)
    engines: dict[tuple[str, ...], float] = {}
    for sample in samples:
        engine = tuple(sample.labels.get(label, "") for label in _REPLICA_LABELS)
        engines[engine] = max(sample.value, engines.get(engine, sample.value))
    total = sum(engines.values())
    return total / len(engines) if field in _AVERAGED else total
