"""Who may come in next: a queue by priority, deadline and fair share."""

from fairlead.admission.config import QueueConfig, WaitLimits
from fairlead.admission.queue import AdmissionQueue
from fairlead.admission.round import Round
from fairlead.admission.state import ClassState, QueueState, TenantState
from fairlead.admission.waiting import Entry, Refusal, Waiting, Why

__all__ = [
    "AdmissionQueue",
    "ClassState",
    "Entry",
    "QueueConfig",
    "QueueState",
    "Refusal",
    "Round",
    "TenantState",
    "WaitLimits",
    "Waiting",
    "Why",
]
