"""What learning is fed with: how well one model did on one prompt."""

import msgspec

from fairlead.domain.features import PromptFeatures
from fairlead.domain.task import TaskCategory


class Label(msgspec.Struct, frozen=True, gc=False):
    """One labelled outcome."""

    model: str
    category: TaskCategory
    features: PromptFeatures | None
    """None where the prompt was not looked at: then only the category's rate learns."""
    score: float
    """In [0, 1], up is good."""
