"""Routing measured on four public data sets: `python bench/evaluation.py [--data FOLDER] [--only NAME] [--json FILE]`.

Turns data sets that stand beside the checkout (`../shared/data`) into the table of `fairlead evaluate`, in a temporary
folder, evaluates each with random folds and, where it has groups, with grouped folds, and prints the tables that
docs/evaluation.md shows (`--page docs/evaluation.md` puts them there). `--keep FOLDER` leaves the tables; nothing else
is written.
"""

import argparse
import csv
import gzip
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evaluation_tables
import msgspec

from fairlead.cli.evaluate import progress_shown
from fairlead.evaluation.report import Report
from fairlead.evaluation.run import Settings, cross_validated
from fairlead.evaluation.table import Axis, read_table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BFCL_MODELS = 12
BFCL_LATENCY_CLASSES = 4
CHARS_PER_TOKEN = 4
ANSWER_TOKENS = 300
"""Of an answer in LLMRouter's set, which has no counts: the same for every model, so that prices alone tell."""

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A data set: the folder it stands in, its axis, and what its groups are."""

    folder: str
    axis: Axis | None
    groups: str | None


SOURCES = (
    Source("routellm", None, "subject"),
    Source("swebench_verified", "cost_usd", "repository"),
    Source("llmrouter_9models", "cost_usd", "task"),
    Source("bfcl_2024_08", "latency_s", None),
)


def read_csv(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def routellm(folder: Path) -> Rows:
    """1,917 questions of MMLU, two models, right or wrong; the category and the group are the subject."""
    for row in read_csv(folder / "mmlu.csv.gz"):
        for model in ("mixtral_8x7b", "gpt4_1106"):
            score = int(row[f"{model}_correct"])
            domain = row["domain"]
            yield {"prompt": row["prompt"], "model": model, "score": score, "category": domain, "group": domain}


def swebench_verified(folder: Path) -> Rows:
    """199 issues, 19 models, resolved or not, dollars; the category and the group are the repository."""
    prompts = {row["instance_id"]: row for row in read_jsonl(folder / "prompts.jsonl.gz")}
    for row in read_csv(folder / "per_instance.csv.gz"):
        prompt = prompts[row["instance_id"]]
        yield {
            "prompt": prompt["prompt"],
            "model": row["model"],
            "score": int(row["resolved"]),
            "cost_usd": float(row["cost_usd"]),
            "category": prompt["repo"],
            "group": prompt["repo"],
        }


def llmrouter_9models(folder: Path) -> Rows:
    """5,429 queries of 14 tasks, nine models; dollars are prices times an estimate of tokens."""
    prices = json.loads((folder / "default_llm.json").read_text(encoding="utf-8"))
    for row in read_jsonl(folder / "scores.jsonl.gz"):
        tokens = len(row["question"]) / CHARS_PER_TOKEN
        for model, score in row["scores"].items():
            price = prices[model]
            cost = (tokens * price["input_price"] + ANSWER_TOKENS * price["output_price"]) / 1e6
            yield {
                "prompt": row["question"],
                "model": model,
                "score": score,
                "cost_usd": cost,
                "category": row["task"],
                "group": row["task"],
            }


def bfcl_2024_08(folder: Path) -> Rows:
    """609 function-calling prompts and their functions, twelve of 71 models, measured latency.

    Models with a latency for every prompt are sorted by its median and cut into four classes of equal size; of each
    the three most accurate are taken: a fleet that somebody might run, with fast and slow models.
    """
    prompts = {row["id"]: row for row in read_jsonl(folder / "prompts.jsonl.gz")}
    rows = [row for row in read_csv(folder / "results.csv.gz") if row["prompt_id"] in prompts]
    models = bfcl_models(rows, len(prompts))
    for row in rows:
        if row["model"] in models:
            prompt = prompts[row["prompt_id"]]
            yield {
                "prompt": f"{prompt['question']}\n\nFunctions: {json.dumps(prompt['function'])}",
                "model": row["model"],
                "score": int(row["correct"]),
                "latency_s": float(row["latency_s"]),
                "category": row["category"],
            }


def bfcl_models(rows: list[dict[str, str]], prompts: int) -> set[str]:
    """Return the names of the models that `bfcl_2024_08` takes."""
    waits, right = defaultdict(list), defaultdict(list)
    for row in rows:
        right[row["model"]].append(int(row["correct"]))
        if row["latency_s"]:
            waits[row["model"]].append(float(row["latency_s"]))
    timed = sorted((name for name in waits if len(waits[name]) == prompts), key=lambda m: statistics.median(waits[m]))
    size, each = len(timed) / BFCL_LATENCY_CLASSES, BFCL_MODELS // BFCL_LATENCY_CLASSES
    classes = [timed[round(i * size) : round((i + 1) * size)] for i in range(BFCL_LATENCY_CLASSES)]
    return {name for one in classes for name in sorted(one, key=lambda m: -statistics.mean(right[m]))[:each]}


CONVERTERS = {one.__name__: one for one in (routellm, swebench_verified, llmrouter_9models, bfcl_2024_08)}


def write_tables(source: Source, data: Path, to: Path) -> dict[str, Path]:
    """Write the tables of a source, with and without groups, and return them by kind of folds."""
    rows = list(CONVERTERS[source.folder](data / source.folder))
    written = {}
    for folds in ("random", *((f"by {source.groups}",) if source.groups else ())):
        path = to / f"{source.folder}{'' if folds == 'random' else '_grouped'}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                kept = row if folds != "random" else {key: value for key, value in row.items() if key != "group"}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")
        written[folds] = path
    return written


def main() -> int:
    """Evaluate what is there and print it; 2 where no data set is."""
    parser = argparse.ArgumentParser(prog="bench/evaluation.py", description="Measures routing on public data sets.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the data sets")
    parser.add_argument("--only", choices=tuple(CONVERTERS), help="one of them")
    parser.add_argument("--keep", type=Path, help="leave the tables in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every report")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables between the marks of this page")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    reports: dict[tuple[str, str], Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        to = args.keep or Path(folder)
        to.mkdir(parents=True, exist_ok=True)
        for source in SOURCES:
            if args.only not in (None, source.folder):
                continue
            if not (args.data / source.folder).is_dir():
                print(f"{source.folder} is not in {args.data}: left out", file=sys.stderr)
                continue
            for folds, path in write_tables(source, args.data, to).items():
                how = Settings(seed=args.seed, axis=source.axis, robust=folds == "random")
                with progress_shown() as progress:
                    reports[source.folder, folds] = cross_validated(read_table(path, source.axis), how, progress)
    if not reports:
        return 2
    print(evaluation_tables.markdown(reports))
    if args.page:
        evaluation_tables.update(args.page, reports)
    if args.json:
        named = {f"{data}, {folds}": report for (data, folds), report in reports.items()}
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(named), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
