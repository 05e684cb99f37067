"""What is known of well-known models: a table that comes along, and which of its rows a name means.

The table is written by hand and dated; makers change prices and add models. What a configuration says of a model goes
before it.
"""

import csv
from functools import cache
from importlib.resources import files

import msgspec

from fairlead.config.model_names import Spelling, Where, spellings
from fairlead.domain import Model, Price

AS_OF = "2026-11"
"""Year and month that the table tells of."""
_FILE = "known_models.csv"


class KnownModel(msgspec.Struct, frozen=True):
    """A row of the table."""

    name: str
    """As its maker's interface has it; for open weights as Ollama writes it."""
    maker: str
    context_tokens: int
    """The most that it can take, prompt and answer together; a server may give it less."""
    capabilities: frozenset[str]
    price: Price | None
    """What its maker asks; None for open weights, whose price is that of the machine they run on."""
    also: tuple[str, ...] = ()
    """Other spellings."""

    @property
    def is_open(self) -> bool:
        """Whether anybody may run it."""
        return self.price is None

    def to_model(self, name: str) -> Model:
        """Return it as the decision core sees it, under the name that callers use."""
        return Model(name, self.capabilities, self.context_tokens, self.price)


@cache
def known_models() -> tuple[KnownModel, ...]:
    """Return the table, in its order: by maker, then by model."""
    text = files("fairlead.config").joinpath(_FILE).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(map(_row, csv.DictReader(lines)))


def meant_by(name: str, *, open_only: bool = False) -> tuple[KnownModel, ...]:
    """Return what a name means: one row, none where it is not known, several where it could be each of them.

    Nothing is guessed: beside its exact name a row is found by its other spellings and without what says only where a
    model comes from or how it is stored: `openai/`, `-2024-08-06`, `:latest`, `-q4_K_M`. With `open_only` a name never
    means a model that only its maker serves: a node of one's own that calls a model `gpt-4o` has another.
    """
    for spelling in spellings(name):
        rows = tuple(row for row in _index().get(spelling.name, ()) if _fits(row, spelling, open_only=open_only))
        if rows:
            return rows
    return ()


def known(name: str, *, open_only: bool = False) -> Model | None:
    """Return what the table tells of a model, under the name given; None where that is nothing, or not certain."""
    rows = meant_by(name, open_only=open_only)
    return rows[0].to_model(name) if len(rows) == 1 else None


def fill(model: Model, own_name: str | None = None, *, open_only: bool = False) -> Model:
    """Return a model with capabilities and price from the table where it has none.

    `own_name` is what the node calls it, the better clue: `{name: qwen3:8b, as: gpt-4o}` is no GPT-4o. The context is
    left as it is, since how much of it a server gives is known to that server alone.
    """
    if model.capabilities is not None and model.price is not None:
        return model
    row = known(own_name or model.name, open_only=open_only)
    if row is None:
        return model
    return msgspec.structs.replace(
        model,
        capabilities=row.capabilities if model.capabilities is None else model.capabilities,
        price=model.price or row.price,
    )


@cache
def _index() -> dict[str, tuple[KnownModel, ...]]:
    found: dict[str, tuple[KnownModel, ...]] = {}
    for row in known_models():
        for name in dict.fromkeys(one.lower() for one in (row.name, *row.also)):
            found[name] = (*found.get(name, ()), row)
    return found


def _fits(row: KnownModel, spelling: Spelling, *, open_only: bool) -> bool:
    if row.is_open:
        return spelling.where is not Where.MAKER and spelling.may_be_from(row.maker, is_open=True)
    return spelling.where is not Where.HOME and not open_only and spelling.may_be_from(row.maker, is_open=False)


def _row(cells: dict[str, str]) -> KnownModel:
    paid = cells["input_usd_per_mtok"]
    return KnownModel(
        cells["name"],
        cells["maker"],
        int(cells["context_tokens"]),
        frozenset(cells["capabilities"].split()),
        Price(float(paid), float(cells["output_usd_per_mtok"])) if paid else None,
        tuple(cells["also"].split()),
    )
