"""From a prompt to the kind of work it asks for: detectors."""

from fairlead.categories.catalog import detector_named
from fairlead.categories.contract import Detector
from fairlead.categories.rules import RuleDetector

__all__ = ["Detector", "RuleDetector", "detector_named"]
