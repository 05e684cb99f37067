"""What the pages are made of: fenced blocks, tables, headings, links."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "demo.py")
FAIRLEAD = [sys.executable, "-m", "fairlead"]
STAGED = {"deployment.md", "integration.md", "monitoring.md", "performance.md", "recovery.md", "troubleshooting.md"}
"""Pages for operators: their commands are played section by section, see `docs_stage`."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    tag: str
    text: str
    heading: str
    """Under which it stands."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*tags: str) -> list[Block]:
    """Return all blocks with one of these tags; without any, all."""
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2], _heading(text[: match.start()]))
        for page in PAGES
        for text in (page.read_text(encoding="utf-8"),)
        for match in _FENCE.finditer(text)
        if not tags or match[1] in tags
    ]


def _heading(before: str) -> str:
    return next(iter(reversed(re.findall(r"^#+ (.*)$", _FENCE.sub("", before), re.MULTILINE))), "")


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def make_targets() -> set[str]:
    """Return the names that `make` can be called with."""
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return the rows of the first table under each heading, without its head; cells lose their backquotes."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in prose(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().replace("`", "")
        elif line.startswith("| "):
            cells = [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return {heading: rows[2:] for heading, rows in found.items()}
