"""Who is good at what: expected quality of a model for a task, learnt from outcomes, with how sure it is."""

from fairlead.capability.features import features_of
from fairlead.capability.labels import Label
from fairlead.capability.posterior import Posterior
from fairlead.capability.scorer import CapabilityConfig, CapabilityScorer, Estimate

__all__ = ["CapabilityConfig", "CapabilityScorer", "Estimate", "Label", "Posterior", "features_of"]
