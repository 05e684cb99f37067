"""Which node holds the beginning of which prompt: a bounded index, the least recently used forgotten first.

A block is a number for all the text up to its end, so who holds a block was sent everything before it as well. For each
block the holders are the bits of one integer: finding the longest run of every holder is one look-up and one AND per
block, however many nodes there are. It says what nodes were sent, not what they kept: see `prefix_affinity`.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

Holder = tuple[str, str]
"""Model and node: what one model keeps of a prompt is of no use to another."""


MOST_GONE = 64
"""Holders that may be gone before their bits are swept out, which takes a look at every block."""


class PrefixIndex:
    """Blocks of prompts, and who was sent them."""

    def __init__(self, max_blocks: int) -> None:
        """Raises ValueError for a bound that is not above 0."""
        if max_blocks < 1:
            raise ValueError(f"max_blocks must be above 0, not {max_blocks}")
        self._most = max_blocks
        self.clear()

    def __len__(self) -> int:
        return len(self._masks)

    def clear(self) -> None:
        """Forget everything."""
        self._masks: OrderedDict[int, int] = OrderedDict()
        """Block -> its holders' bits, the least recently used first."""
        self._places: dict[Holder, int] = {}
        self._holders: list[Holder | None] = []
        """By place, the number of the bit; None where its holder is gone."""
        self._counts: list[int] = []
        self._free: list[int] = []
        self._gone = 0
        """Bits that stand for nobody any more, and are not free yet."""
        self._own: dict[Holder, OrderedDict[int, None]] = {}
        """Of holders whose memory is known: their blocks, the least recently used first."""

    def held(self, prefix: Sequence[int]) -> dict[Holder, int]:
        """Return how many blocks from the beginning each holder has; who has none is not named."""
        runs: dict[Holder, int] = {}
        masks, mask, depth = self._masks, -1, 0
        for block in prefix:
            both = masks.get(block, 0) & mask
            if both != mask:
                if depth:
                    self._note(runs, mask & ~both, depth)
                if not both:
                    return runs
                mask = both
            depth += 1
        if depth:
            self._note(runs, mask, depth)
        return runs

    def add(self, prefix: Sequence[int], holder: Holder, most_blocks: int | None = None) -> None:
        """Note that a holder was sent a prompt; `most_blocks` is how many it can keep, where that is known.

        Later blocks count as used before earlier ones, so that a prompt is forgotten from its end.
        """
        masks, place = self._masks, self._place(holder)
        bit, own = 1 << place, None if most_blocks is None else self._own.setdefault(holder, OrderedDict())
        for block in reversed(prefix):
            mask = masks.get(block, 0)
            if not mask & bit:
                masks[block] = mask | bit
                self._counts[place] += 1
            masks.move_to_end(block)
            if own is not None:
                own[block] = None
                own.move_to_end(block)
        if own is not None and most_blocks is not None:
            while len(own) > most_blocks:
                self._drop(own.popitem(last=False)[0], place)
        while len(masks) > self._most:
            self._evict()

    def forget(self, holder: Holder) -> None:
        """Drop what a holder was sent: it left, or began anew. Its bits are swept out together with others'."""
        place = self._places.pop(holder, None)
        if place is None:
            return
        self._own.pop(holder, None)
        self._holders[place] = None
        self._gone |= 1 << place
        if self._gone.bit_count() >= MOST_GONE:
            self._sweep()

    def forget_node(self, node: str) -> None:
        """Drop what all models on a node were sent."""
        for holder in [holder for holder in self._places if holder[1] == node]:
            self.forget(holder)

    def blocks(self) -> dict[Holder, int]:
        """Return how many blocks each holder is believed to have."""
        return {holder: self._counts[place] for holder, place in self._places.items()}

    # -- inside

    def _place(self, holder: Holder) -> int:
        place = self._places.get(holder)
        if place is None:
            place = self._free.pop() if self._free else len(self._holders)
            if place == len(self._holders):
                self._holders.append(None)
                self._counts.append(0)
            self._holders[place], self._places[holder] = holder, place
        return place

    def _sweep(self) -> None:
        for block, mask in list(self._masks.items()):
            if mask & self._gone:
                left = mask & ~self._gone
                if left:
                    self._masks[block] = left
                else:
                    del self._masks[block]
        for place in _bits(self._gone):
            self._counts[place] = 0
            self._free.append(place)
        self._gone = 0

    def _note(self, runs: dict[Holder, int], mask: int, depth: int) -> None:
        for place in _bits(mask):
            holder = self._holders[place]
            if holder is not None:
                runs[holder] = depth

    def _drop(self, block: int, place: int) -> None:
        left = self._masks[block] & ~(1 << place)
        self._counts[place] -= 1
        if left:
            self._masks[block] = left
        else:
            del self._masks[block]

    def _evict(self) -> None:
        block, mask = self._masks.popitem(last=False)
        for place in _bits(mask):
            self._counts[place] -= 1
            holder = self._holders[place]
            if holder in self._own:
                self._own[holder].pop(block, None)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
