"""Who holds what on which node."""

from fairlead.allocation.ledger import Account, Lease, Ledger

__all__ = ["Account", "Lease", "Ledger"]
