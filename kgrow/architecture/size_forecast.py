"""How large a network will be, before it is built."""

import math
import os

from kgrow import backend
from kgrow.algebra.config_fields import read, text
from kgrow.algebra.errors import GrowthError

_BYTES = 4
# 4 PiB.
_MOST = 2**52


def check_imaginable(spec, config):
    """Refuses sizes whose weights no machine could hold.

    Args:
        spec: `ModelSpec` of the network as it is.
        config: dict of the sizes that are wanted.

    Raises:
        GrowthError: it says how many bytes they take.
    """
    _check(spec, config, _MOST, "no machine has as much")


def check_memory(spec, config):
    """Refuses sizes whose weights alone do not fit into the memory of the
    hosts; see `check_imaginable()`."""
    limit = _memory()
    if limit is not None:
        said = f"there are {limit / 2**30:,.1f} GiB of memory"
        _check(spec, config, limit, said)


def _check(spec, config, limit, said):
    needed = _BYTES * forecast(spec, config)
    if needed > limit:
        raise GrowthError(
            f"The weights alone would take {needed / 2**30:,.1f} GiB in "
            f"float32, and {said}. Ask for smaller sizes. Received: "
            f"{_sizes(config)}"
        )


def forecast(spec, config):
    """How many numbers the weights of a network of other sizes have.

    Along each dimension and stack as many more as its field grows by, which
    is right where sizes are multiples of their fields.

    Args:
        spec: `ModelSpec`.
        config: dict of sizes.

    Returns:
        int.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> config = {**model.growth_config, "hidden_dim": 400}
    >>> forecast(model.architecture.spec, config)
    8409
    """
    return sum(_numbers(spec, v, config) for v in spec.variables.values())


def _numbers(spec, variable, config):
    count = math.prod(variable.shape)
    if variable.stack is not None:
        count *= _ratio(spec, spec.stacks[variable.stack], config)
    for axis in variable.axes:
        for name in axis.dims:
            count *= _ratio(spec, spec.dims[name], config)
    return int(count)


def _ratio(spec, part, config):
    """By how much a dimension or a stack grows."""
    old = spec.sizes.get(part.name, spec.depths.get(part.name))
    before = read(spec.config, part.field)
    after = read(config, part.field)
    if after is None:
        return 1
    return after / ((old if before is None else before) or 1)


def _memory():
    """Bytes of memory of all hosts, or `None` where nobody says."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return pages * backend.processes() if pages > 0 else None


def _sizes(config):
    return ", ".join(f"{field}={text(v)}" for field, v in config.items())
