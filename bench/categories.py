"""How well task categories are detected on real prompts: `python bench/categories.py FOLDER [--json FILE]`.

FOLDER holds `task_prompts.jsonl.gz` (`source, id, label, text`) and `conventional_commits.jsonl.gz` (`label, text,
path_consistent`). `other:*` counts as `unknown`. Detectors are measured beside the largest class and a bare list of
keywords. Those that are trained never see what they are measured on: either one source at a time is left out (new
kinds of prompts), or a fifth of the rows (more prompts of the kinds that were seen). Takes about two minutes.
"""

import argparse
import gzip
import hashlib
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from fairlead.categories.cues import ORDER
from fairlead.categories.labelled import Labelled
from fairlead.categories.measure import MIN_ROWS, Measured, compare
from fairlead.categories.rules import RuleDetector, words_of
from fairlead.categories.trained import TrainedDetector
from fairlead.categories.training import train
from fairlead.categories.weights import dump, parse
from fairlead.domain import TaskCategory

FOLDS = 5
COMMITS = 2_000
"""Commit subjects that are added where commits are; all of them would outweigh the prompts."""
SURE = 0.95

KEYWORDS: dict[TaskCategory, str] = {
    TaskCategory.TESTING: "test tests testing unittest coverage",
    TaskCategory.CODE_REVIEW: "review reviews reviewing reviewer",
    TaskCategory.DOCUMENTATION: "document documentation docs docstring readme changelog comment comments",
    TaskCategory.REFACTORING: "refactor refactoring rename restructure simplify cleanup optimize move",
    TaskCategory.DEBUGGING: "debug debugging bug bugs fix error errors crash fails failed exception",
    TaskCategory.CODING: "code coding implement write create add build function feature",
}
"""The words of each category and their obvious synonyms; the first category with a word wins."""

Probabilities = dict[TaskCategory, float]


class Prompt(Labelled, frozen=True, kw_only=True):
    """A labelled prompt, where it is from, and whether the cues of the rules were never corrected on it."""

    source: str
    held_out: bool


class Keywords:
    """The first category of which a word stands in the prompt."""

    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._sets = [(category, frozenset(words.encode().split())) for category, words in KEYWORDS.items()]

    def detect(self, prompt: str) -> TaskCategory:
        """Return that category, `unknown` where there is none."""
        found = set(prompt.lower().encode("utf-8", "replace").split() if self._is_whole else words_of(prompt))
        return next((category for category, words in self._sets if not words.isdisjoint(found)), TaskCategory.UNKNOWN)


def read_prompts(folder: Path) -> list[Prompt]:
    """Return the labelled prompts."""
    rows = []
    for line in gzip.decompress((folder / "task_prompts.jsonl.gz").read_bytes()).splitlines():
        row = json.loads(line)
        label = "unknown" if row["label"].startswith("other:") else row["label"].replace("-", "_")
        held_out = hashlib.sha256(str(row["id"]).encode()).digest()[0] % 2 == 1
        rows.append(Prompt(row["text"], TaskCategory(label), source=row["source"], held_out=held_out))
    return rows


def read_commits(folder: Path) -> list[Labelled]:
    """Return commit subjects whose files bear out their type, spread over the file."""
    lines = gzip.decompress((folder / "conventional_commits.jsonl.gz").read_bytes()).splitlines()
    rows = [row for row in map(json.loads, lines) if row["path_consistent"] == 1]
    return [Labelled(row["text"], TaskCategory(row["label"])) for row in rows[:: max(1, len(rows) // COMMITS)]]


def by_source(row: Prompt) -> str:
    """Return what is left out together: prompts of one source, the three libraries of commands apart."""
    return row.source


def by_fold(row: Prompt) -> str:
    """Return one of five folds, by the text, so that equal texts stay together."""
    return str(zlib.crc32(row.text.encode("utf-8", "replace")) % FOLDS)


def cross_validated(
    rows: Sequence[Prompt], part_of: Callable[[Prompt], str], also: Sequence[Labelled] = ()
) -> list[Probabilities]:
    """Return what a detector says of each row that was trained on the other parts (and on `also`)."""
    said: list[Probabilities] = [{} for _ in rows]
    for part in sorted({part_of(row) for row in rows}):
        weights = train([*(row for row in rows if part_of(row) != part), *also])
        detector = TrainedDetector(parse(dump(weights)))
        for index, row in enumerate(rows):
            if part_of(row) == part:
                said[index] = detector.probabilities(row.text)
    return said


def decided(said: Probabilities, least: float = 0.35) -> TaskCategory:
    """Return the likeliest category, `unknown` where none is likely enough."""
    if not said:
        return TaskCategory.UNKNOWN
    top = max(said, key=said.__getitem__)
    return top if said[top] >= least else TaskCategory.UNKNOWN


def backed_up(rule: TaskCategory, said: Probabilities) -> TaskCategory:
    """Return what the rules say, and the trained detector's word only where they say nothing."""
    return decided(said) if rule is TaskCategory.UNKNOWN else rule


def sure_share(rows: Sequence[Prompt], said: Sequence[Probabilities], accuracy: float = SURE) -> float:
    """Return the largest share of rows, the likeliest first, of which that many are right."""
    ranked = sorted(
        (
            (max(each.values(), default=0.0), decided(each, 0) is row.label)
            for row, each in zip(rows, said, strict=True)
        ),
        reverse=True,
    )
    right, share = 0, 0.0
    for number, (_, is_right) in enumerate(ranked, 1):
        right += is_right
        if right >= accuracy * number:
            share = number / len(rows)
    return share


def guesses(rows: Sequence[Prompt], folder: Path, progress: Callable[[str], None]) -> dict[str, list[TaskCategory]]:
    """Return what each detector says of each row."""
    rules = [RuleDetector().detect(row.text) for row in rows]
    largest = Counter(row.label for row in rows).most_common(1)[0][0]
    found = {
        "largest class": [largest for _ in rows],
        "keywords, head and tail": [Keywords(is_whole=False).detect(row.text) for row in rows],
        "keywords, whole text": [Keywords(is_whole=True).detect(row.text) for row in rows],
        "rules": rules,
    }
    commits = read_commits(folder)
    for name, part_of, also in (
        ("trained, new source", by_source, ()),
        ("trained and commits, new source", by_source, commits),
        ("trained, new rows", by_fold, ()),
    ):
        progress(name)
        said = cross_validated(rows, part_of, also)
        found[name] = [decided(each) for each in said]
        if not also:
            backed = name.replace("trained", "rules, then trained")
            found[backed] = [backed_up(rule, each) for rule, each in zip(rules, said, strict=True)]
            found[f"{name}: {sure_share(rows, said):.0%} of rows are {SURE:.0%} right"] = []
    return found


def cost_us(detect: Callable[[str], TaskCategory], rows: Sequence[Prompt]) -> float:
    """Return the median over rounds of microseconds for a prompt of 1 KB, on one thread's CPU time."""
    texts = [row.text[:1024] for row in rows if len(row.text) >= 1024][:500]
    rounds = []
    for _ in range(7):
        began_s = time.thread_time()
        for text in texts:
            detect(text)
        rounds.append((time.thread_time() - began_s) / len(texts) * 1e6)
    return median(rounds)


def costs(rows: Sequence[Prompt]) -> dict[str, float]:
    """Return what training, loading and detecting cost, with all rows."""
    began_s = time.thread_time()
    weights = train(rows)
    train_s = time.thread_time() - began_s
    content = dump(weights)
    began_s = time.thread_time()
    detector = TrainedDetector(parse(content))
    return {
        "rules_us": cost_us(RuleDetector().detect, rows),
        "trained_us": cost_us(detector.detect, rows),
        "train_s": train_s,
        "load_s": time.thread_time() - began_s,
        "file_kb": len(content) / 1000,
        "words": len(weights.words) / 4,
    }


def show(console: Console, title: str, found: dict[str, Measured]) -> None:
    """Print one row of figures for each detector."""
    table = Table(title=title, title_justify="left", box=None)
    for head in ("detector", "accuracy", "macro-F1", "coverage", *(f"F1 {category}" for category in ORDER)):
        table.add_column(head, justify="left" if head == "detector" else "right")
    for name, one in found.items():
        figures = (one.accuracy, one.macro_f1, one.coverage)
        table.add_row(name, *(f"{x:.3f}" for x in figures), *(f"{one.f1.get(c, 0):.2f}" for c in ORDER))
    console.print(table, "")


def show_confusion(console: Console, name: str, measured: Measured) -> None:
    """Print label by what was said."""
    table = Table(title=f"{name}: label (down), said (across)", title_justify="left", box=None)
    for head in ("label", *ORDER):
        table.add_column(head, justify="left" if head == "label" else "right")
    for label, said in measured.confusion.items():
        table.add_row(label, *(str(said.get(category, 0)) for category in ORDER))
    console.print(table, "")


def show_sources(console: Console, rows: Sequence[Prompt], found: dict[str, list[TaskCategory]]) -> None:
    """Print the accuracy on each source."""
    names = [name for name in found if name in ("rules", "trained, new source", "trained, new rows")]
    table = Table(title="Accuracy by source", title_justify="left", box=None)
    for head in ("source", "rows", *names):
        table.add_column(head, justify="left" if head == "source" else "right")
    for source in sorted({row.source for row in rows}):
        at = [index for index, row in enumerate(rows) if row.source == source]
        right = [sum(found[name][i] is rows[i].label for i in at) / len(at) for name in names]
        table.add_row(source, str(len(at)), *(f"{share:.3f}" for share in right))
    console.print(table, "")


def main() -> int:
    """Measure and print; 0 even where a figure is missed."""
    parser = argparse.ArgumentParser(prog="bench/categories.py", description="Measures detectors of task categories.")
    parser.add_argument("folder", type=Path, help="where task_prompts.jsonl.gz is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=170)
    rows = read_prompts(args.folder)
    with console.status("measuring ...") as status:
        found = guesses(rows, args.folder, lambda name: status.update(f"training: {name} ..."))
        spent = costs(rows)
    notes = [name for name, said in found.items() if not said]
    found = {name: said for name, said in found.items() if said}
    labels = [row.label for row in rows]
    measured = {name: compare(zip(labels, said, strict=True)) for name, said in found.items()}
    held = [index for index, row in enumerate(rows) if row.held_out]
    frequent = {c for c, n in Counter(labels).items() if n >= MIN_ROWS}
    clean = {
        name: macro_over(compare(((labels[i], said[i]) for i in held), 1), frequent) for name, said in found.items()
    }
    show(console, f"All {len(rows)} rows; macro-F1 over {', '.join(c for c in ORDER if c in frequent)}", measured)
    show(console, f"The {len(held)} rows on which the cues of the rules were not corrected", clean)
    show_sources(console, rows, found)
    for name in ("rules", "trained, new source", "trained, new rows"):
        show_confusion(console, name, measured[name])
    for line in (*notes, ", ".join(f"{name} {value:.3g}" for name, value in spent.items())):
        console.print(line)
    if args.json:
        data = {"all": as_data(measured), "not_corrected_on": as_data(clean), "notes": notes, "costs": spent}
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


def macro_over(measured: Measured, categories: set[TaskCategory]) -> Measured:
    """Return the same figures with the macro-F1 over these categories, whatever their number of rows here."""
    f1 = [measured.f1.get(category, 0.0) for category in ORDER if category in categories]
    return Measured(
        measured.rows, measured.accuracy, measured.coverage, sum(f1) / len(f1), measured.f1, measured.confusion
    )


def as_data(measured: dict[str, Measured]) -> dict[str, Any]:
    """Return plain data for JSON."""
    return {
        name: {
            "rows": one.rows,
            "accuracy": one.accuracy,
            "coverage": one.coverage,
            "macro_f1": one.macro_f1,
            "f1": one.f1,
            "confusion": one.confusion,
        }
        for name, one in measured.items()
    }


if __name__ == "__main__":
    sys.exit(main())
