"""Names for the types that the algebra's signatures use."""

from collections.abc import Mapping
from typing import Any, TypeAlias

# A NumPy array or a tensor of the backend: plans work on both.
Array: TypeAlias = Any

# Values of variables by their paths.
Values: TypeAlias = Mapping[str, Array]

# Fields of a network's config, and sizes by the names of dimensions.
Config: TypeAlias = Mapping[str, Any]
Sizes: TypeAlias = Mapping[str, int]
