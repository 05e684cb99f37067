"""Who holds what on which node: needs estimated, reserved, watched, adjusted and always given back."""

from fairlead.allocation.account import Account
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.allocation.config import AllocationConfig
from fairlead.allocation.ledger import Lease, Ledger
from fairlead.allocation.needs import NeedsEstimator
from fairlead.allocation.preemption import is_batch_not_begun
from fairlead.allocation.rate import RateWindow
from fairlead.allocation.residency import LoadedModel, Residency, Standing

__all__ = [
    "Account",
    "AllocationConfig",
    "Lease",
    "Ledger",
    "LoadedModel",
    "NeedsEstimator",
    "RateWindow",
    "Residency",
    "ResourceAllocator",
    "Standing",
    "is_batch_not_begun",
]
