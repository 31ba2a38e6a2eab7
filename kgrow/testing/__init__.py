"""What strategies promise, measured."""

from kgrow.testing.msg import MSGRow, MSGTable, msg_table
from kgrow.testing.picture import heat_map
from kgrow.testing.preservation import preservation_table
from kgrow.testing.table import PreservationTable, Row

__all__ = [
    "MSGRow",
    "MSGTable",
    "PreservationTable",
    "Row",
    "heat_map",
    "msg_table",
    "preservation_table",
]
