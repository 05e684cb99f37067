"""Routing accuracy: `python bench/specialists.py FOLDER [--strategy NAME] [--json FILE]`.

The share of tasks that `TaskRouter` sends to a model no worse at them than the best that qualifies, on real prompts
(FOLDER as in `bench/categories.py`) and made-up fleets whose true skills are known: one specialist for each category
and a generalist, or three specialists with related categories and a generalist. Beside it the mean skill that the tasks
met, of the best they could have met. Skills are declared, or learnt from outcomes drawn by the true skill.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from categories import Keywords, Probabilities, Prompt, by_fold, by_source, cross_validated, decided, read_prompts
from fairlead import CircuitBreakerConfig, TaskCategory, TaskRouter
from fairlead.categories.rules import RuleDetector
from fairlead.rng import Draw
from fairlead.testing import ManualClock

Skills = Mapping[TaskCategory, float]
Fleet = Mapping[str, Skills]

SPECIALIST, OUTSIDE, GENERALIST, ASTRAY = 0.9, 0.5, 0.7, 0.4
"""Skill of a specialist at its own work and at other work; of the generalist at all; of specialists at `unknown`."""
SURE = 0.6
"""Where unsure prompts go to the generalist, the least probability that counts as sure."""
TASK_S = 1.0
SEEDS = 3
"""Runs where outcomes are learnt from, each with other luck; their mean is shown."""

_C = TaskCategory
FAMILIES: dict[str, tuple[TaskCategory, ...]] = {
    "maker": (_C.CODING, _C.REFACTORING, _C.TESTING),
    "fixer": (_C.DEBUGGING, _C.CODE_REVIEW),
    "writer": (_C.DOCUMENTATION,),
}


def fleet_of(good_at: Mapping[str, Sequence[TaskCategory]]) -> Fleet:
    """Return the true skills of specialists and of a generalist."""
    fleet: dict[str, Skills] = {"generalist": dict.fromkeys(TaskCategory, GENERALIST)}
    for name, own in good_at.items():
        fleet[name] = {
            c: SPECIALIST if c in own else ASTRAY if c is TaskCategory.UNKNOWN else OUTSIDE for c in TaskCategory
        }
    return fleet


FLEETS: dict[str, Fleet] = {
    "one for each category": fleet_of({c.value: (c,) for c in TaskCategory if c is not TaskCategory.UNKNOWN}),
    "three families": fleet_of(FAMILIES),
}


def routed(
    fleet: Fleet,
    rows: Sequence[Prompt],
    said: Sequence[TaskCategory],
    strategy: str,
    seed: int,
    *,
    learns: bool,
    declares: bool,
) -> list[str]:
    """Return the model that each row was sent to; outcomes are reported where it `learns`."""
    clock = ManualClock()
    breaker = CircuitBreakerConfig(failure_threshold=10**6)  # here a failure is a poor answer, not a broken node
    explored = 0.1 if learns else 0.0
    router = TaskRouter(strategy, seed=seed, exploration=explored, clock=clock, circuit_breaker=breaker)
    for name, skills in fleet.items():
        router.register_model(name, skill=skills if declares else None)
    chosen = []
    for number, (row, category) in enumerate(zip(rows, said, strict=True)):
        clock.advance(TASK_S)
        if not learns:
            decision = router.explain(row.text, category=category)
            chosen.append(str(decision["chosen"]["model"]))  # type: ignore[index]
            continue
        name = router.route_task(row.text, category=category)
        success = Draw(seed, number).unit() < fleet[name][row.label]
        router.record_task_result(name, success, 1.0, category)
        chosen.append(name)
    return chosen


def figures(fleet: Fleet, rows: Sequence[Prompt], chosen: Sequence[str]) -> tuple[float, float]:
    """Return the share sent to a model no worse than the best, and the mean skill met over the best mean skill."""
    best = [max(skills[row.label] for skills in fleet.values()) for row in rows]
    met = [fleet[name][row.label] for row, name in zip(rows, chosen, strict=True)]
    right = sum(have >= top for have, top in zip(met, best, strict=True))
    return right / len(rows), sum(met) / sum(best)


def mean_of(runs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean of each figure."""
    return sum(right for right, _ in runs) / len(runs), sum(skill for _, skill in runs) / len(runs)


def shuffled(rows: Sequence[Prompt]) -> list[int]:
    """Return the positions in an order drawn once."""
    return sorted(range(len(rows)), key=lambda index: Draw(3, index).bits())


def ways(rows: Sequence[Prompt], progress: Callable[[str], None]) -> dict[str, list[TaskCategory]]:
    """Return what each way of detecting says of each row."""
    progress("training, one source left out at a time")
    sources = cross_validated(rows, by_source)
    progress("training, a fifth of the rows left out at a time")
    folds = cross_validated(rows, by_fold)
    return {
        "perfect detector": [row.label for row in rows],
        "always unknown": [TaskCategory.UNKNOWN for _ in rows],
        "keywords": [Keywords(is_whole=False).detect(row.text) for row in rows],
        "rules": [RuleDetector().detect(row.text) for row in rows],
        "trained, new source": _decided(sources),
        "trained, new source, unsure to the generalist": _decided(sources, SURE),
        "trained, new rows": _decided(folds),
        "trained, new rows, unsure to the generalist": _decided(folds, SURE),
    }


def _decided(said: Sequence[Probabilities], least: float = 0.35) -> list[TaskCategory]:
    return [decided(each, least) for each in said]


def main() -> int:
    """Measure and print; 0 even where a figure is missed."""
    parser = argparse.ArgumentParser(prog="bench/specialists.py", description="Measures routing accuracy.")
    parser.add_argument("folder", type=Path, help="where task_prompts.jsonl.gz is")
    parser.add_argument("--strategy", default="hybrid", help="how a model is chosen (hybrid)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=150)
    rows = read_prompts(args.folder)
    rows = [rows[index] for index in shuffled(rows)]
    with console.status("measuring ...") as status:
        said = ways(rows, lambda name: status.update(f"{name} ..."))
    data: dict[str, dict[str, tuple[float, float]]] = {}
    for title, fleet in FLEETS.items():
        table = Table(title=f"Fleet: {title}; {len(rows)} tasks", title_justify="left", box=None)
        heads = ("declared skills", "declared and learnt, last half", "learnt only, last half")
        table.add_column("category from")
        for head in heads:
            table.add_column(head, justify="right")
        for name, categories in said.items():
            found = {}
            for head, learns, declares in zip(heads, (False, True, True), (True, True, False), strict=True):
                half = len(rows) // 2 if learns else 0
                runs = [
                    routed(fleet, rows, categories, args.strategy, seed, learns=learns, declares=declares)
                    for seed in range(SEEDS if learns else 1)
                ]
                found[head] = mean_of([figures(fleet, rows[half:], chosen[half:]) for chosen in runs])
            data.setdefault(title, {})[name] = found  # type: ignore[assignment]
            table.add_row(name, *(f"{right:.3f}  ({skill:.3f})" for right, skill in found.values()))
        console.print(table, "share of tasks that met a model no worse than the best (skill met / best skill)", "")
    if args.json:
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
