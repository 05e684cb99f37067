"""How much of what prompts seem to say to believe: as much as holds on prompts that were not learnt from.

A regression of few labels fits their noise, and how many are few depends on the data. So the prompts are cut into
folds, and each is foretold by a regression on the others. What that adds to the log-odds has a part that all models
share and one of each model's own. Outcomes are either as each part says or it says nothing; that gives four ways to
foretell them, each is weighed by the likelihood of the outcomes under it, and a part is believed by the weight of the
ways that use it. That is pseudo Bayesian model averaging (Geisser and Eddy, "A predictive approach to model selection",
JASA 1979; Yao et al., "Using stacking to average Bayesian predictive distributions", Bayesian Analysis 2018).
"""

from collections.abc import Sequence
from math import exp, log1p

import msgspec

FOLDS = 4
"""How many parts the prompts are cut into; each is foretold by what the others taught."""
ENOUGH_PROMPTS = 2000
"""Foretold prompts after which no other fold is foretold."""


class Foretold(msgspec.Struct, frozen=True, gc=False):
    """One label, and what regressions that have not seen its prompt say of it."""

    offset: float
    """Log-odds before."""
    common: float
    """What they add for every model."""
    own: float
    """What they add for this one."""
    score: float
    worth: float
    """Of the label, beside others of its prompt."""


class Parts(msgspec.Struct, frozen=True, gc=False):
    """How much is believed, each in [0, 1]."""

    common: float
    own: float


def believed(foretold: Sequence[Foretold]) -> Parts:
    """Return how much to believe; a half where nothing was foretold."""
    ways = [(common, own) for common in (0.0, 1.0) for own in (0.0, 1.0)]
    likely = [sum(_log_likelihood(one, *way) for one in foretold) for way in ways]
    most = max(likely)
    weights = [exp(one - most) for one in likely]
    total = sum(weights)
    return Parts(
        sum(weight * way[0] for weight, way in zip(weights, ways, strict=True)) / total,
        sum(weight * way[1] for weight, way in zip(weights, ways, strict=True)) / total,
    )


def _log_likelihood(one: Foretold, common: float, own: float) -> float:
    """Return that of one score under the parts, up to its worth; scores between 0 and 1 count as shares."""
    x = one.offset + common * one.common + own * one.own
    return one.worth * (one.score * x - (x if x > 30.0 else log1p(exp(x))))
