"""Callbacks for `fit`."""

from kgrow.callbacks.backup_and_restore import BackupAndRestore
from kgrow.callbacks.cost_logger import Ledger
from kgrow.callbacks.growth import Growth
from kgrow.callbacks.operator_record import OperatorRecord
from kgrow.callbacks.sub_models import SubModels

__all__ = [
    "BackupAndRestore",
    "Growth",
    "Ledger",
    "OperatorRecord",
    "SubModels",
]
