"""Growth strategies: each chooses the matrices by which a network grows."""

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
from kgrow.strategies.registry import get, names, serialize
from kgrow.strategies.solar import SOLAR
from kgrow.strategies.staged import Staged
from kgrow.strategies.vocabulary import Vocabulary

__all__ = [
    "AKI",
    "FPI",
    "KnowledgeInheritance",
    "LEMON",
    "MSG",
    "MSLT",
    "SOLAR",
    "CompoundGrow",
    "LiGO",
    "Combine",
    "DepthMap",
    "Direct",
    "InitializeNew",
    "GradMax",
    "HyperCloning",
    "Identity",
    "Interpolate",
    "LlamaPro",
    "Mango",
    "Middle",
    "Net2Net",
    "Positions",
    "Random",
    "Stack",
    "Staged",
    "StackingList",
    "Strategy",
    "Top",
    "Vocabulary",
    "get",
    "names",
    "serialize",
]
