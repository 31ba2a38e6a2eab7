"""Measure how well strategies preserve the function."""

from kgrow.analysis.preservation.measurement import preservation_table
from kgrow.analysis.preservation.msg import MSGRow, MSGTable, msg_table
from kgrow.analysis.preservation.picture import heat_map
from kgrow.analysis.preservation.table import PreservationRow, PreservationTable

__all__ = [
    "MSGRow",
    "MSGTable",
    "PreservationTable",
    "PreservationRow",
    "heat_map",
    "msg_table",
    "preservation_table",
]
