"""The measurements as one picture."""

from kgrow.analysis.plots.preservation import preservation_map


def heat_map(table, path=None):
    """Draws a `PreservationTable`; see `preservation_map()`.

    Example:

    >>> import pathlib, tempfile
    >>> from kgrow.analysis.preservation.table import (
    ...     PreservationRow, PreservationTable)
    >>> row = PreservationRow("direct", "pre-LN", "ffn", "any", {}, {},
    ...     "exact", {}, [])
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> heat_map(PreservationTable((row,)), folder / "kept.png").name
    'kept.png'
    """
    return preservation_map(table, path)
