"""A step that was compiled before it is run."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, eq=False)
class AheadProgram:
    """A program that was compiled ahead, as a backend holds it.

    Args:
        run: what the backend calls.
        code_bytes: int, memory that the program takes on a device, or `None`
            where that is unknown.
    """

    run: Callable
    code_bytes: int | None = None
