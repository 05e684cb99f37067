"""A drill: every fault of the catalogue against a gateway of a given shape, with stand-ins for its nodes."""

from fairlead.drill.run import Scene, run_drill, scenes_of
from fairlead.drill.score import Score, Verdict
from fairlead.drill.shape import BUILT_IN, Shape, shape_of

__all__ = ["BUILT_IN", "Scene", "Score", "Shape", "Verdict", "run_drill", "scenes_of", "shape_of"]
