"""The benchmark: `python bench [--quick] [--only decisions|gateway|stream|footprint] [--json FILE]`.

Prints tables and writes nothing, except where `--json` says. Takes about five minutes.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import decisions
import report
from proc import speed_ms
from rich.console import Console

import gateway

_WIDTH = 130
"""Of the tables, where the output is no terminal."""

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "decisions": decisions.measure,
    "gateway": gateway.unary_and_paced,
    "stream": gateway.streaming,
    "footprint": gateway.footprint,
}


def main() -> int:
    """Measure what was asked for and print it; 0 even where a figure is missed."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures fairlead beside its peers.")
    parser.add_argument("--quick", action="store_true", help="one short round each: rough figures in about a minute")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    results: dict[str, Any] = {"speed_ms": [speed_ms()]}
    for name in (args.only,) if args.only else PARTS:
        with console.status(f"measuring: {name} ..."):
            results[name] = PARTS[name](is_quick=args.quick)
        results["speed_ms"].append(speed_ms())
    figures, limits = report.figures_of(results), report.ceilings(results)
    report.show(console, results, figures, limits)
    if args.json:
        data = {"results": results, "figures": report.as_data(figures), "ceilings": report.as_data(limits)}
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
