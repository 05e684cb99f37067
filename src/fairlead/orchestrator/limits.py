"""What one key may ask in a minute: charged before a task is sent, settled when it is over.

So requests that come together cannot pass a limit together, and an estimate that was too high is given back.
"""

import msgspec

from fairlead.allocation import RateWindow
from fairlead.domain import Shortage

USUAL_OUTPUT_TOKENS = 256
"""Charged for an answer whose length nobody limits; what it took is known at the end."""


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What was charged for one task."""

    window: RateWindow
    at_s: float
    tokens: int

    def settle(self, used_tokens: int) -> None:
        """Correct the charge to what was used."""
        self.window.settle(self.at_s, self.tokens, used_tokens)


class KeyLimits:
    """The limits of one key, with what counts against them."""

    def __init__(self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        self._requests = None if requests_per_minute is None else RateWindow(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else RateWindow(tokens_per_minute, "tokens_per_minute")

    def charge(
        self, input_tokens: int, output_tokens: int, now_s: float, *, is_further: bool = False
    ) -> Charge | Shortage | None:
        """Charge a task, or say which limit it would pass; None where there is nothing to settle later.

        `output_tokens` is 0 where the caller does not limit the answer. A further step of a request that was let in
        (`is_further`) counts for its tokens only, and is not refused: its caller asked once.
        """
        requests, tokens = self._requests, self._tokens
        needed = input_tokens + (output_tokens or USUAL_OUTPUT_TOKENS)
        if is_further:
            return None if tokens is None else _charged(tokens, needed, now_s)
        shortage = None if requests is None else requests.shortage(1, now_s)
        if shortage is None and tokens is not None:
            shortage = tokens.shortage(needed, now_s)
        if shortage is not None:
            return shortage
        if requests is not None:
            requests.charge(1, now_s)
        return None if tokens is None else _charged(tokens, needed, now_s)


def _charged(tokens: RateWindow, needed: int, now_s: float) -> Charge:
    tokens.charge(needed, now_s)
    return Charge(tokens, now_s, needed)
