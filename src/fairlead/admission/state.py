"""What a queue looks like, for people and for other parts."""

import msgspec

from fairlead.domain import PriorityClass


class ClassState(msgspec.Struct, frozen=True):
    """Those of one class."""

    waiting: int
    tokens: int
    size_bytes: int
    oldest_wait_s: float
    expected_wait_s: float
    """Of one more task of this class."""


class TenantState(msgspec.Struct, frozen=True):
    """One tenant while several wait."""

    waiting: int
    share: float
    """Its weight among the tenants that wait, in [0, 1]; 0.0 where it does not wait."""
    served_tokens: int
    """Since it has an account: since it last was neither waiting nor ahead of others."""


class QueueState(msgspec.Struct, frozen=True):
    """All that can be told of a queue at one moment."""

    classes: dict[PriorityClass, ClassState]
    tenants: dict[str, TenantState]
    """By name; those without a name are one tenant, called `""`."""
    drain_tokens_per_s: float
    drain_tasks_per_s: float
    usual_tokens_per_s: float
    """What usually arrives."""
    refused: dict[str, int]
    """By reason, since the start; those who were evicted or whose wait was over are not among them."""
    evicted_total: int
    expired_total: int
    admitted_total: int
    """Of those who waited."""
