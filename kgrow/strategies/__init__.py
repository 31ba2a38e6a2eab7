"""Growth strategies: each chooses the matrices by which a network grows."""

from kgrow.strategies.bert2bert import AKI, FPI
from kgrow.strategies.copy import Copy
from kgrow.strategies.depth import (
    DepthMap,
    Identity,
    Interpolate,
    Middle,
    Stack,
    StackingList,
    Top,
)
from kgrow.strategies.direct import Direct, Random
from kgrow.strategies.hypercloning import HyperCloning
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.net2net import Net2Net
from kgrow.strategies.registry import get, names, serialize
from kgrow.strategies.staged import Staged
from kgrow.strategies.strategy import Strategy

__all__ = [
    "AKI",
    "FPI",
    "LEMON",
    "Copy",
    "DepthMap",
    "Direct",
    "HyperCloning",
    "Identity",
    "Interpolate",
    "Middle",
    "Net2Net",
    "Random",
    "Stack",
    "Staged",
    "StackingList",
    "Strategy",
    "Top",
    "get",
    "names",
    "serialize",
]
