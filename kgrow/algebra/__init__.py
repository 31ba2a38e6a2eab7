"""Named axes, linear maps, expansions and plans; what keeps a function."""

from kgrow.algebra.axes import Axes
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.exactness import Claim, claims
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.gate import Gate
from kgrow.algebra.joint_map import JointMap
from kgrow.algebra.linear_maps import GatherMap, MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit, PlanTerm
from kgrow.algebra.ramp import Ramp
from kgrow.algebra.rounding import tolerance
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec, VariableSpec

__all__ = [
    "Axes",
    "AxisMap",
    "BlockStack",
    "Claim",
    "DepthExpansion",
    "Dim",
    "Expansion",
    "Gate",
    "GatherMap",
    "JointMap",
    "MatrixMap",
    "ModelSpec",
    "NewEntryInit",
    "Plan",
    "PlanTerm",
    "Ramp",
    "VariableSpec",
    "claims",
    "tolerance",
]
