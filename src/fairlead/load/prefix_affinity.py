"""What it is worth that a node holds the beginning of a prompt, against the wait there.

Both are priced in seconds, node by node, and the cheapest takes the task:

    price = (prompt - what is held x trust) / pace + usual x (4 x share + in flight / 20) x top worth / worth

The first term is the time to read what the node does not hold. In the second, `usual` is the time to read a usual
prompt and `share` the part of its time that the node was given such work for lately; 4 is the slope of an M/M/1 queue's
wait, u / (1 - u) service times, at a utilisation u of one half; a twentieth is the usual part of its time in flight in
which a task is being read. What was given lately, and not what is in flight alone, decides where a *new* conversation
goes: it will come back there, and a node that is idle for a moment, or has the emptiest cache, must not collect all.

A promise is a guess: trust is the share of what was promised on a node that it really found in its cache, as far as it
reports that. Wrong choice: where nodes keep nothing of a prompt; then trust falls and nothing but load is left.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from fairlead.load.config import PrefixConfig
from fairlead.load.measures import Loaded
from fairlead.load.pace import Lately, Pace
from fairlead.load.prefix import Holder, PrefixIndex

WAIT_PER_SHARE = 4.0
WAIT_PER_TASK = 0.05
HELD_EFFORT = 0.5
"""A token that is held, as work: it need not be read, but is attended to and takes memory."""
BYTES_PER_TOKEN = 4.0
"""Of English text; only where nobody said how many tokens a prompt has."""
_TRUST_TOKENS = 4096.0
"""Promises kept that everybody is credited with in advance."""
_FADE = 0.98
"""What a report counts once the next has come."""
_SLOWEST = 0.02


class Keeps(Loaded, Protocol):
    """A candidate that may hold the beginning of a prompt."""

    @property
    def holder(self) -> Holder:
        """Its model and node."""
        ...

    @property
    def kv_tokens(self) -> int | None:
        """Tokens that its node can hold at once; None where unknown."""
        ...


class Hits(NamedTuple):
    """What was promised of a node's cache and what was found there."""

    blocks: int
    """Believed to be there now."""
    promised_tokens: int
    found_tokens: int
    trust: float
    """What a promise counts, in [0, 1]."""


class _Record:
    __slots__ = ("found", "lately_found", "lately_promised", "promised")

    def __init__(self) -> None:
        self.promised = self.found = 0
        self.lately_promised = self.lately_found = 0.0

    @property
    def trust(self) -> float:
        return (self.lately_found + _TRUST_TOKENS) / (self.lately_promised + _TRUST_TOKENS)


class PrefixAffinity:
    """Who holds what, how fast it is read, and how far that can be relied on. One for a fleet; single-owner."""

    def __init__(self, config: PrefixConfig | None = None) -> None:
        self.config = config or PrefixConfig()
        self.worth = 1.0
        """What it counts that a node holds a prompt, in [0, 1]: less in a spike, so that the work is spread."""
        self.index = PrefixIndex(self.config.max_blocks)
        self.pace = Pace(self.config.prefill_tokens_per_s)
        self._lately = Lately()
        self._records: dict[Holder, _Record] = {}
        self._usual_tokens = 0.0
        self._sent = 0

    def tokens_of(self, prefix: Sequence[int], input_tokens: int) -> int:
        """Return the tokens of a prompt, estimated from its blocks where they are not known."""
        return input_tokens or int(len(prefix) * self.config.block_bytes / BYTES_PER_TOKEN)

    def prices(
        self, blocks: int, tokens: int, held: Mapping[Holder, int], candidates: Sequence[Keeps], now_s: float
    ) -> list[float]:
        """Return what it costs to send a prompt of so many blocks and tokens to each, in seconds."""
        read_s, sums = tokens / self.pace.tokens_per_s, self._lately.sums
        usual_s = (self._usual_tokens or tokens) / self.pace.tokens_per_s
        per_task = usual_s * WAIT_PER_TASK
        per_sum = usual_s * WAIT_PER_SHARE * self._lately.per_sum(now_s) / self.pace.tokens_per_s
        top = max([one.worth for one in candidates])
        prices = [
            read_s + (per_task * one.in_flight + per_sum * sums.get(one.holder, 0.0)) * top / one.worth
            for one in candidates
        ]
        if held:
            for i, one in enumerate(candidates):
                if one.holder in held:
                    prices[i] -= read_s * self.worth * self._trust(one.holder) * held[one.holder] / blocks
        return prices

    def sent(self, prefix: Sequence[int], tokens: int, picked: Keeps, held_blocks: int, now_s: float) -> int:
        """Note that a prompt goes to a candidate that holds so many of its blocks; return the tokens promised."""
        promised = tokens * held_blocks // len(prefix)
        unread = tokens - promised
        self._sent += 1
        self._usual_tokens += max(_SLOWEST, 1.0 / self._sent) * (unread - self._usual_tokens)
        self._lately.add(picked.holder, unread + HELD_EFFORT * promised, now_s)
        kv_tokens = picked.kv_tokens
        self.index.add(prefix, picked.holder, None if kv_tokens is None else max(1, kv_tokens * len(prefix) // tokens))
        return promised

    def record_hit(self, holder: Holder, cached_tokens: int, expected_tokens: int) -> None:
        """Take in how much of a prompt a node found in its cache, where `expected_tokens` were promised."""
        record = self._records.get(holder)
        if record is None:
            record = self._records[holder] = _Record()
        found = min(max(cached_tokens, 0), expected_tokens)
        record.promised += expected_tokens
        record.found += found
        if expected_tokens > 0:
            record.lately_promised = _FADE * record.lately_promised + expected_tokens
            record.lately_found = _FADE * record.lately_found + found

    def record_first_token(self, unread_tokens: int, first_token_s: float) -> None:
        """Take in how long it took to the first token of an answer, where so many tokens had to be read."""
        self.pace.observe(unread_tokens, first_token_s)

    def forget_node(self, node: str) -> None:
        """Drop what is known of a node: it left, or began anew."""
        self.index.forget_node(node)
        for holder in [holder for holder in self._records if holder[1] == node]:
            del self._records[holder]
        self._lately.drop_node(node)

    def forget(self) -> None:
        """Drop what was learnt of everybody; the pace stays."""
        self.index.clear()
        self._records.clear()
        self._lately = Lately()

    def stats(self) -> dict[Holder, Hits]:
        """Return for each model on a node what was promised and what was found."""
        blocks = self.index.blocks()
        nothing = _Record()
        found = {}
        for holder in blocks | self._records:
            record = self._records.get(holder, nothing)
            found[holder] = Hits(blocks.get(holder, 0), record.promised, record.found, record.trust)
        return found

    def _trust(self, holder: Holder) -> float:
        record = self._records.get(holder)
        return 1.0 if record is None else record.trust
