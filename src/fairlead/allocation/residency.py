"""Which models a node holds in memory, and what asking it for another one would do.

Servers such as Ollama and llama.cpp load a model when it is asked for and push another one out where there is no room.
Loading takes seconds to minutes, and a model that is pushed out while it works has to be loaded again for the next
request. So a node that has the model loaded is to be preferred, and one that would have to push out a busy model not to
be asked. Of a node that says nothing, nothing is held against it.
"""

from collections.abc import Mapping
from enum import IntEnum
from math import inf
from typing import TypeVar

import msgspec

MAX_REMEMBERED = 256
"""Models of which one node's sizes and load times are remembered."""
DEFAULT_LOAD_S = 5.0
"""Of a model of unknown size on a node that was never seen loading."""
DEFAULT_BYTES_PER_S = 1e9
"""A solid-state disk, and a part of it for the start of the server's worker."""
_NEWEST_WEIGHT = 0.3
_V = TypeVar("_V", int, float)


class Standing(IntEnum):
    """What sending a task for a model to a node does to the models there, the best first."""

    LOADED = 0
    """It is there, or being loaded."""
    FITS = 1
    """It has to be loaded, beside those that are there; also where nothing is known of the node."""
    EVICTS_IDLE = 2
    """A model that nobody uses has to go."""
    EVICTS_BUSY = 3
    """A model that is at work would have to go: not to be done."""


class LoadedModel(msgspec.Struct, frozen=True, gc=False):
    """A model in a node's memory. Raises ValueError for a size below nothing."""

    memory_bytes: int = 0
    """Of the memory that is short on the node: the GPU's where it has one. 0 where unknown."""

    def __post_init__(self) -> None:
        if self.memory_bytes < 0:
            raise ValueError(f"a model cannot take {self.memory_bytes} bytes of memory")


class Residency:
    """The models in one node's memory."""

    def __init__(self, memory_bytes: int | None = None, max_models: int | None = None) -> None:
        """`memory_bytes` is what all models share, `max_models` how many there may be; None where unknown.

        Raises ValueError for a limit that is not above 0.
        """
        if memory_bytes is not None and not memory_bytes > 0:
            raise ValueError(f"a node's memory must be above 0 bytes, not {memory_bytes!r}; None where it is unknown")
        if max_models is not None and not max_models > 0:
            raise ValueError(f"max_models must be above 0, not {max_models!r}; None where it is unknown")
        self.memory_bytes = memory_bytes
        self.max_models = max_models
        self.loaded: dict[str, LoadedModel] = {}
        self.sampled_at_s: float | None = None
        """When the node was last asked; None: never, so nothing is known."""
        self._sizes: dict[str, int] = {}
        self._load_s: dict[str, float] = {}
        self._s_per_byte = 1.0 / DEFAULT_BYTES_PER_S
        self._loads = 0

    def update(self, loaded: Mapping[str, LoadedModel], sampled_at_s: float) -> bool:
        """Take over what a node reports; False, and nothing changed, for a report older than the last one."""
        if self.sampled_at_s is not None and sampled_at_s < self.sampled_at_s:
            return False
        self.sampled_at_s = sampled_at_s
        self.loaded = dict(loaded)
        for model, one in loaded.items():
            if one.memory_bytes:
                _remember(self._sizes, model, one.memory_bytes)
        return True

    def declare_size(self, model: str, memory_bytes: int) -> None:
        """Say how much memory a model takes, as long as the node has not reported it itself."""
        if model not in self._sizes and memory_bytes > 0:
            _remember(self._sizes, model, memory_bytes)

    def learn_load(self, model: str, took_s: float) -> None:
        """Let an observed load time count. What cannot be a time is passed over."""
        if not 0 < took_s < inf:
            return
        known = self._load_s.get(model)
        _remember(self._load_s, model, took_s if known is None else known + _NEWEST_WEIGHT * (took_s - known))
        size = self._sizes.get(model)
        if size:
            weight = _NEWEST_WEIGHT if self._loads else 1.0
            self._s_per_byte += weight * (took_s / size - self._s_per_byte)
            self._loads += 1

    def standing(self, model: str, in_flight_by_model: Mapping[str, int]) -> Standing:
        """Say what sending a task for a model there does, while so many tasks of each model are under way there."""
        if in_flight_by_model.get(model):
            return Standing.LOADED
        if self.sampled_at_s is None:
            return Standing.LOADED if model in self.loaded else Standing.FITS
        loading = [name for name, count in in_flight_by_model.items() if count and name not in self.loaded]
        busy = [name for name in self.loaded if in_flight_by_model.get(name)] + loading
        if self._holds([name for name in (*self.loaded, *loading) if name != model], model):
            return Standing.LOADED if model in self.loaded else Standing.FITS
        if model in self.loaded and not loading:
            return Standing.LOADED
        return Standing.EVICTS_IDLE if self._holds(busy, model) else Standing.EVICTS_BUSY

    def load_cost_s(self, model: str) -> float:
        """Return how long a task waits there for its model: 0 where it is loaded, or nothing is known of the node."""
        if self.sampled_at_s is None or model in self.loaded:
            return 0.0
        learnt = self._load_s.get(model)
        if learnt is not None:
            return learnt
        size = self._sizes.get(model)
        return DEFAULT_LOAD_S if size is None else size * self._s_per_byte

    def _holds(self, others: list[str], model: str) -> bool:
        """Tell whether a model has room beside others; one larger than the node has it when it is alone."""
        if not others:
            return True
        if self.max_models is not None and len(others) >= self.max_models:
            return False
        if self.memory_bytes is None:
            return True
        return sum(self._size(one) for one in others) + self._size(model) <= self.memory_bytes

    def _size(self, model: str) -> int:
        one = self.loaded.get(model)
        return one.memory_bytes if one is not None and one.memory_bytes else self._sizes.get(model, 0)


def _remember(table: dict[str, _V], model: str, value: _V) -> None:
    """Keep a value as the newest; the one longest unheard of goes where there are too many."""
    table.pop(model, None)
    if len(table) >= MAX_REMEMBERED:
        del table[next(iter(table))]
    table[model] = value
