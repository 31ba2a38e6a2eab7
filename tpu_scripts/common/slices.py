"""TPU slices that a program can be compiled for on a host that has none.

`libtpu` holds the compiler. It belongs into an environment of its own: where
it is installed, JAX looks for a TPU. What a process needs to hear before it
imports JAX is `ENVIRONMENT`.
"""

import dataclasses
import importlib.util
import pathlib
import tomllib

from kgrow.algebra.errors import GrowthError

ENVIRONMENT = {
    # Run on the host itself, and ask nobody for a TPU.
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_MIN_LOG_LEVEL": "3",
    # A second process would end at the first one's lock file.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
INSTALL = (
    "The compiler of TPUs comes with libtpu, for Linux on x86-64. Install it "
    "into an environment of its own: `make tpu-environment`, or `python -m "
    "venv .venv-tpu && .venv-tpu/bin/pip install 'jax[tpu]==0.10.2' -e .`"
)
_TABLE = pathlib.Path(__file__).with_name("slices.toml")
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU slice.

    Args:
        name: string, such as `"v5e-8"`.
        topology: string, as JAX names it.
        hbm: int, bytes of memory that a program may use on a device.
        tile: int, the width of the matrix unit.
        options: dict, further arguments for JAX.
    """

    name: str
    topology: str
    hbm: int
    tile: int
    options: dict

    def devices(self):
        """The slice's devices, for which programs can be compiled.

        Raises:
            GrowthError: there is no compiler here.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise GrowthError(f"{INSTALL}. Received: slice={self.name!r}")
        from jax.experimental import topologies

        description = topologies.get_topology_desc(
            platform="tpu", topology_name=self.topology, **self.options
        )
        return list(description.devices)


def names():
    """The names of all slices, smallest first in each generation.

    Example:

    >>> names()[:3]
    ['v2-8', 'v2-32', 'v3-8']
    """
    return [
        f"{generation}-{size}"
        for generation, row in _table().items()
        for size in row["slices"]
    ]


def get(name):
    """A slice by its name.

    Raises:
        GrowthError: there is none of that name.

    Example:

    >>> get("v5e-8").topology, get("v5e-8").options
    ('v5e:2x4', {'chips_per_host_bounds': (2, 4, 1)})
    """
    generation, _, size = str(name).partition("-")
    row = _table().get(generation)
    if row is None or size not in row["slices"]:
        raise GrowthError(
            f"There is no such slice. Received: slice={name!r}. There are: "
            f"{', '.join(names())}"
        )
    shape, options = row["slices"][size], {}
    if int(size) <= row.get("one_host", 0):
        # Taken for several hosts otherwise.
        sides = tuple(map(int, shape.split("x")))
        options["chips_per_host_bounds"] = (*sides, 1)
    if "config" in row:
        options["chip_config_name"] = row["config"]
    return Slice(
        name,
        f"{row['topology']}:{shape}",
        int(row["hbm"] * _GIB),
        row["tile"],
        options,
    )


def _table():
    return tomllib.loads(_TABLE.read_text())
