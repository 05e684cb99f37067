"""The smallest reservations: what a node has room for when an answer may be cut short."""

from collections.abc import Iterable

from fairlead.allocation.account import Account
from fairlead.allocation.needs import NeedsEstimator
from fairlead.domain import Needs

_CUTTABLE = ("tokens", "tokens_per_minute", "memory_bytes", "gpu_memory_bytes")
"""The resources of which a shorter answer takes less."""


def smallest(estimator: NeedsEstimator, model: str, needs: Needs, least: int | None) -> Needs:
    """Return the needs of the shortest answer that the caller allows; `least` None: of no shorter one."""
    if least is None or needs.output_tokens <= max(least, 1):
        return needs
    return estimator.sized(model, needs.input_tokens, max(least, 1))


def bounded(estimator: NeedsEstimator, model: str, needs: Needs, limit: int, nodes: Iterable[Account]) -> Needs:
    """Return needs of which the answer fits into the largest node, where its length is a guess: a guess is no demand.

    What the caller limits the answer to (`limit`, 0: to nothing) stays what it is.
    """
    most = max(account.most_tokens for account in nodes)
    if needs.tokens <= most or needs.output_tokens == limit:
        return needs
    return estimator.sized(model, needs.input_tokens, max(most - needs.input_tokens, 1))


def cut(
    estimator: NeedsEstimator, account: Account, model: str, needs: Needs, least: int, now_s: float, ceiling: float
) -> Needs | None:
    """Return needs with as many tokens for the answer as the node has room for; None where these are below `least`."""
    for _ in _CUTTABLE:
        shortage = account.shortage(needs, now_s, ceiling)
        if shortage is None:
            return needs
        if shortage.resource not in _CUTTABLE:
            return None
        output_tokens = int(shortage.free * needs.tokens // shortage.needed) - needs.input_tokens
        if output_tokens < max(least, 1):
            return None
        needs = estimator.sized(model, needs.input_tokens, output_tokens)
    return needs if account.fits(needs, now_s, ceiling) else None
