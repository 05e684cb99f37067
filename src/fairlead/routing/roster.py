"""The models that a decision compares: checked once, then kept for as long as the same ones are asked for."""

import math
from collections.abc import Sequence
from typing import Any

from fairlead.domain import Model, ModelChain, TaskCategory
from fairlead.errors import BadRequestError, NoModelError
from fairlead.routing.chains import Cascade


def check_model(model: Model) -> None:
    """Raise BadRequestError for a price, skill, category or context that makes no sense."""
    price = model.price
    if price is not None:
        for name in ("input_usd_per_mtok", "output_usd_per_mtok"):
            value = getattr(price, name)
            if not 0.0 <= value < math.inf:
                raise BadRequestError(f"model {model.name!r}: price.{name} must be 0 or more, not {value!r}", "price")
    for category, skill in model.skill.items():
        try:
            TaskCategory(category)
        except ValueError:
            known = ", ".join(TaskCategory)
            message = f"model {model.name!r}: skill names an unknown category {category!r}; there are: {known}"
            raise BadRequestError(message, "skill") from None
        if not (isinstance(skill, (int, float)) and 0.0 <= skill <= 1.0):
            raise BadRequestError(
                f"model {model.name!r}: skill.{category!s} must be between 0 and 1, not {skill!r}", "skill"
            )
    if model.context_tokens is not None and model.context_tokens <= 0:
        raise BadRequestError(
            f"model {model.name!r}: context_tokens must be above 0, not {model.context_tokens!r}", "context_tokens"
        )


class Roster:
    """Models, and the cascades among them, with what every decision over them needs."""

    __slots__ = (
        "cascades",
        "chains",
        "columns",
        "common",
        "is_varied",
        "key",
        "labels",
        "least_context",
        "models",
        "names",
        "price_of",
        "prices",
    )

    def __init__(self, key: int, models: Sequence[Model], cascades: Sequence[Cascade] = ()) -> None:
        """Check and keep the models. Raises NoModelError for none, BadRequestError for senseless or double ones."""
        if not models:
            raise NoModelError("there is no model to choose from: give at least one, or register one")
        self.key = key
        """Tells rosters apart; a number is never used twice."""
        self.columns: dict[TaskCategory, Any] = {}
        """What is known of the models in each category; kept here by the engine."""
        self.models = tuple(models)
        self.names = tuple(model.name for model in self.models)
        places = {name: i for i, name in enumerate(self.names)}
        if len(places) < len(self.names):
            double = sorted({name for name in self.names if self.names.count(name) > 1})
            raise BadRequestError(f"these models are given twice: {', '.join(double)}", "models")
        self.prices = tuple(
            None if one.price is None else (one.price.input_usd_per_mtok / 1e6, one.price.output_usd_per_mtok / 1e6)
            for one in self.models
        )
        """US dollars per token, input and output; None where unknown."""
        self.cascades = tuple(
            (one, tuple(places[name] for name in one.models))
            for one in cascades
            if all(name in places for name in one.models)
        )
        """Each with where its models stand."""
        self.chains = (*(ModelChain((name,)) for name in self.names), *(one.chain for one, _ in self.cascades))
        """The models one by one, then the cascades."""
        self.labels = tuple(map(str, self.chains))
        """The chains as text."""
        self.price_of = {model.name: model.price for model in self.models}
        known = [one.capabilities for one in self.models if one.capabilities is not None]
        self.common = frozenset.intersection(*known) if known else None
        """Capabilities that nobody lacks; None where they rule nobody out."""
        self.least_context = min((one.context_tokens or math.inf for one in self.models), default=math.inf)
        self.is_varied = (
            bool(self.cascades) or len(set(self.prices)) > 1 or any(one.skill != self.models[0].skill for one in models)
        )
        """Whether prices, declared skills or cascades tell the models apart."""
