"""Ctrl-C at a chosen line of the code that changes a model."""

import contextlib
import inspect
import sys

from kgrow.growth import growable_model, network_swap, transaction
from kgrow.growth.optimizer import grow_state, rebuild, slots

# Where a growth touches what was there before. Not the lines that put global
# state back: what interrupts those, no line after them can mend.
TOUCHING = (
    growable_model,
    network_swap,
    transaction,
    grow_state,
    rebuild,
    slots,
)


@contextlib.contextmanager
def ctrl_c(line, modules=TOUCHING):
    """Raises `KeyboardInterrupt` when so many lines of some modules have run;
    yields a list of those that have."""
    files, lines = {inspect.getfile(module) for module in modules}, []

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
