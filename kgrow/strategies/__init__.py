"""Growth strategies: each chooses the matrices of a growth.

The imports are written by `make registries`.
"""

import sys

from kgrow.algebra.discovery import discover
from kgrow.strategies.base import Strategy
from kgrow.strategies.bert2bert import AKI, FPI
from kgrow.strategies.combine import Combine
from kgrow.strategies.compoundgrow import CompoundGrow
from kgrow.strategies.depth_maps import (
    DepthMap,
    Identity,
    Interpolate,
    Middle,
    Stack,
    StackingList,
    Top,
)
from kgrow.strategies.direct import Direct, Random
from kgrow.strategies.fill_new import InitializeNew
from kgrow.strategies.gradmax import GradMax
from kgrow.strategies.hypercloning import HyperCloning
from kgrow.strategies.knowledge_inheritance import KnowledgeInheritance
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.ligo import LiGO
from kgrow.strategies.llama_pro import LlamaPro
from kgrow.strategies.mango import Mango
from kgrow.strategies.msg import MSG
from kgrow.strategies.mslt import MSLT
from kgrow.strategies.net2net import Net2Net
from kgrow.strategies.position_table import Positions
from kgrow.strategies.registry import get, names, register, serialize
from kgrow.strategies.solar import SOLAR
from kgrow.strategies.staged import Staged
from kgrow.strategies.task import Task
from kgrow.strategies.vocabulary import Vocabulary

__all__ = [
    "AKI",
    "Combine",
    "CompoundGrow",
    "DepthMap",
    "Direct",
    "FPI",
    "GradMax",
    "HyperCloning",
    "Identity",
    "InitializeNew",
    "Interpolate",
    "KnowledgeInheritance",
    "LEMON",
    "LiGO",
    "LlamaPro",
    "MSG",
    "MSLT",
    "Mango",
    "Middle",
    "Net2Net",
    "Positions",
    "Random",
    "SOLAR",
    "Stack",
    "StackingList",
    "Staged",
    "Strategy",
    "Task",
    "Top",
    "Vocabulary",
    "get",
    "names",
    "register",
    "serialize",
]

# A file that is not listed above yet registers what it holds as well.
discover(sys.modules[__name__])
