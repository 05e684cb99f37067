"""The table that routers are measured on: every prompt with the score, and the price, of every model."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairlead.evaluation.rows import Row, TableError, read_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Axis = Literal["cost_usd", "latency_s"]
AXES: tuple[Axis, Axis] = ("cost_usd", "latency_s")
_MOST_MISSING = 0.5
"""A model that lacks more of its costs or latencies than this is left out where they are asked for."""


@dataclass(frozen=True)
class Table:
    """`n` prompts (rows) by `m` models (columns); nothing is missing in it."""

    name: str
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    score: Floats
    """n x m, in [0, 1]."""
    cost_usd: Floats | None = None
    """n x m; None where the file does not say it for all."""
    latency_s: Floats | None = None
    category: tuple[str | None, ...] = ()
    group: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = ()
    """What was left out and why, for people."""

    def axis(self, name: Axis) -> Floats | None:
        """Return the n x m matrix of what is paid, None where it is not known."""
        return self.cost_usd if name == "cost_usd" else self.latency_s

    @property
    def labels(self) -> Sequence[str | None] | None:
        """What the per-task table reads: the category, or else the group; None where the file names neither."""
        for labels in (self.category, self.group):
            if any(label is not None for label in labels):
                return labels
        return None

    def take(self, kept: Sequence[int]) -> "Table":
        """Return the table of some of its prompts, in that order."""
        index = np.asarray(kept, dtype=np.intp)
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in kept),
            score=self.score[index],
            cost_usd=None if self.cost_usd is None else self.cost_usd[index],
            latency_s=None if self.latency_s is None else self.latency_s[index],
            category=tuple(self.category[i] for i in kept),
            group=tuple(self.group[i] for i in kept),
        )


def read_table(path: Path, axis: Axis | None = None, models: Sequence[str] | None = None) -> Table:
    """Read a file; with `axis`, models and prompts without it are left out, and noted.

    With `models`, only these are read, in this order. Raises TableError with the file and, where there is one, the
    line: nothing in it, fewer than two models, a row that is wrong, the same prompt and model twice.
    """
    rows = read_rows(path)
    if not rows:
        raise TableError(f"{path}: the table is empty")
    names = sorted({row.model for row in rows})
    notes: list[str] = []
    if models is not None:
        names = _only(path, names, models, notes)
    if axis is not None:
        names = _with_axis(path, rows, names, axis, notes)
    if len(names) < 2:
        raise TableError(f"{path}: only the model {names[0]!r}; routing needs the scores of two or more")
    wanted = set(names)
    tasks = _tasks(path, [row for row in rows if row.model in wanted], notes)
    full = [task for task in tasks if len(task) == len(names) and (axis is None or _has(task, axis))]
    if not full:
        raise TableError(f"{path}: no prompt has the score of every model; {_thinnest(rows, names)}")
    if len(full) < len(tasks):
        what = "the score" if axis is None else f"the score and {axis}"
        notes.append(f"{len(tasks) - len(full)} of {len(tasks)} prompts lack {what} of some model and are left out")
    return _table(path, full, names, notes)


def _only(path: Path, names: list[str], models: Sequence[str], notes: list[str]) -> list[str]:
    missing = [model for model in models if model not in names]
    if missing:
        raise TableError(f"{path}: has no score of {', '.join(map(repr, missing))}, which the other file has")
    more = [name for name in names if name not in models]
    if more:
        notes.append(f"left out, as the other file lacks them: {', '.join(more)}")
    return list(models)


def _with_axis(path: Path, rows: list[Row], names: list[str], axis: Axis, notes: list[str]) -> list[str]:
    seen = Counter(row.model for row in rows)
    told = Counter(row.model for row in rows if getattr(row, axis) is not None)
    kept = [name for name in names if told[name] >= seen[name] * _MOST_MISSING]
    if len(kept) < 2:
        raise TableError(f"{path}: {axis} is needed here, and fewer than two models have it")
    if len(kept) < len(names):
        notes.append(f"left out, as most of their {axis} is missing: {', '.join(sorted(set(names) - set(kept)))}")
    return kept


def _tasks(path: Path, rows: list[Row], notes: list[str]) -> list[dict[str, Row]]:
    """Return model -> row for every task.

    A prompt that stands in the table again, with all its models, is a task of its own (benchmarks repeat questions);
    a pair that stands there again alone is a mistake.
    """
    times: Counter[tuple[str, str]] = Counter()
    by_task: defaultdict[tuple[str, int], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        pair = row.prompt, row.model
        by_task[row.prompt, times[pair]][row.model] = row
        times[pair] += 1
    repeats = 0
    for (prompt, nth), task in by_task.items():
        if nth:
            first = by_task[prompt, 0]
            _check_repeat(path, first, task)
            repeats += 1
        _check_labels(path, task)
    if repeats:
        notes.append(f"{repeats} prompts repeat an earlier one; each counts, and copies share a fold")
    return list(by_task.values())


def _check_repeat(path: Path, first: Mapping[str, Row], again: Mapping[str, Row]) -> None:
    if again.keys() != first.keys():
        model, row = next(iter(again.items()))
        raise TableError(f"{path}:{row.line}: the prompt and model ({model}) of line {first[model].line} again")


def _check_labels(path: Path, task: Mapping[str, Row]) -> None:
    first = next(iter(task.values()))
    for row in task.values():
        for key in ("category", "group"):
            if getattr(row, key) != getattr(first, key):
                raise TableError(f"{path}:{row.line}: {key} is not that of the same prompt in line {first.line}")


def _has(task: Mapping[str, Row], axis: Axis) -> bool:
    return all(getattr(row, axis) is not None for row in task.values())


def _thinnest(rows: list[Row], names: list[str]) -> str:
    seen = Counter(row.model for row in rows)
    name = min(names, key=lambda one: (seen[one], one))
    return f"{name!r} has {seen[name]} of {len({row.prompt for row in rows})}"


def _table(path: Path, tasks: list[dict[str, Row]], names: list[str], notes: list[str]) -> Table:
    firsts = [next(iter(task.values())) for task in tasks]
    matrices = {axis: _matrix(tasks, names, axis, notes) for axis in AXES}
    return Table(
        name=path.name,
        prompts=tuple(row.prompt for row in firsts),
        models=tuple(names),
        score=np.array([[task[name].score for name in names] for task in tasks], dtype=np.float64),
        cost_usd=matrices["cost_usd"],
        latency_s=matrices["latency_s"],
        category=tuple(row.category for row in firsts),
        group=tuple(row.group for row in firsts),
        notes=tuple(f"{path.name}: {note}" for note in notes),
    )


def _matrix(tasks: list[dict[str, Row]], names: list[str], axis: Axis, notes: list[str]) -> Floats | None:
    rows = [[task[name] for name in names] for task in tasks]
    cells = [[row.cost_usd if axis == "cost_usd" else row.latency_s for row in task] for task in rows]
    missing = [row.line for task in rows for row in task if getattr(row, axis) is None]
    if not missing:
        return np.array(cells, dtype=np.float64)
    if len(missing) < len(tasks) * len(names):
        notes.append(f"{axis} is not used: {len(missing)} rows lack it, the first in line {min(missing)}")
    return None
