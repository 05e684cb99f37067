"""Small tables for the tests of this folder, made on the spot."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.evaluation.table import Floats, Table

WORDS = ("river", "matrix", "poem", "ledger", "orbit", "tensor", "garden", "kernel", "violin", "socket")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def made_rows(n: int = 60, models: int = 2, seed: int = 0, *, costs: bool = True, labels: bool = True) -> list[Any]:
    """Return rows in which prompts about matrices are hard for all models but the dearest."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        is_hard = i % 2 == 0
        words = rng.choice(WORDS, 6)
        prompt = f"{'prove this matrix theorem' if is_hard else 'name this little bird'} {' '.join(words)} {i}"
        for j in range(models):
            chance = 0.95 if j == models - 1 else (0.1 if is_hard else 0.95)
            row: dict[str, Any] = {"prompt": prompt, "model": f"m{j}", "score": int(rng.random() < chance)}
            if costs:
                row |= {"cost_usd": round(0.001 * 3**j * (1 + rng.random()), 6), "latency_s": 0.1 + rng.random() + j}
            if labels:
                row |= {"category": "hard" if is_hard else "easy", "group": f"g{i % 12}"}
            rows.append(row)
    return rows


def made_table(score: Floats, cost: Floats | None = None, prompts: tuple[str, ...] = (), name: str = "made") -> Table:
    """Return a table of scores, prompts of growing length where none are given."""
    n, m = score.shape
    return Table(
        name=name,
        prompts=prompts or tuple("word " * (i + 1) for i in range(n)),
        models=tuple(f"m{j}" for j in range(m)),
        score=score,
        cost_usd=cost,
        category=(None,) * n,
        group=(None,) * n,
    )
