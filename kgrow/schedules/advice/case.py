"""The case that an advice is about: two sizes, a budget, a source model."""

import math
from dataclasses import dataclass

from kgrow.algebra.errors import GrowthError

FAMILIES = ("decoder", "encoder", "vision")
DIRECTIONS = ("width", "ffn", "depth")

# Config fields of the families, by the direction in which they grow.
_FIELDS = {
    "hidden_dim": "width",
    "num_heads": "width",
    "num_query_heads": "width",
    "head_dim": "width",
    "embed_dim": "width",
    "intermediate_dim": "ffn",
    "num_layers": "depth",
    "depths": "depth",
}


@dataclass(frozen=True)
class Case:
    """One question to the advisor.

    Args:
        config: dict of the small model's sizes.
        target: dict of the large one's, those that stay left out or not.
        tokens: number, tokens (images, in vision) of the whole training.
        family: `"decoder"`, `"encoder"` or `"vision"`.
        source_tokens: number of tokens that an existing small model has been
            trained on, or `None` where the whole run is still to be paid.

    Raises:
        GrowthError: something shrinks, nothing grows, or a number is none.

    Example:

    >>> case = Case({"hidden_dim": 512, "num_layers": 6},
    ...     {"hidden_dim": 768, "num_layers": 12}, 1e9)
    >>> case.width_factor, case.depth_factor, sorted(case.grows)
    (1.5, 2.0, ['depth', 'width'])
    """

    config: dict
    target: dict
    tokens: float
    family: str = "decoder"
    source_tokens: float | None = None

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise GrowthError(
                f"`family` is one of {FAMILIES}: there is no evidence by other "
                f"kinds. Received: family={self.family!r}"
            )
        for name in ("tokens", "source_tokens"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise GrowthError(
                    f"`{name}` is a number above 0. Received: {name}={value!r}"
                )
        for field, new in self.target.items():
            old = self.config.get(field, new)
            if _total(new) < _total(old):
                raise GrowthError(
                    f"`{field}` cannot shrink: {old} -> {new}. To make a "
                    "smaller model, build a new one."
                )
        if not self.grows:
            raise GrowthError(
                "Nothing grows that there is evidence on. `target` names sizes "
                f"that are larger than in `config`, of {sorted(_FIELDS)}. "
                f"Received: config={self.config}, target={self.target}"
            )

    @property
    def final(self):
        """All sizes of the large model."""
        return {**self.config, **self.target}

    @property
    def grows(self):
        """Set of `"width"`, `"ffn"` and `"depth"`. A feedforward network that
        keeps its ratio to the width is part of the width."""
        found = {
            way for field, way in _FIELDS.items() if self._factor(field) > 1
        }
        if math.isclose(self._factor("intermediate_dim"), self.width_factor):
            found.discard("ffn")
        return found

    @property
    def width_factor(self):
        """float, the large stream's width over the small one's."""
        return max(self._factor("hidden_dim"), self._factor("embed_dim"))

    @property
    def depth_factor(self):
        """float, the large depth over the small one."""
        return max(self._factor("num_layers"), self._factor("depths"))

    @property
    def start(self):
        """`"checkpoint"` where the small model exists, `"run"` where it is
        trained as a part of the run."""
        return "run" if self.source_tokens is None else "checkpoint"

    def changes(self, field):
        """Whether a config field is given for both sizes and differs."""
        old, new = self.config.get(field), self.target.get(field)
        return None not in (old, new) and old != new

    def keeps(self, field):
        """Whether a config field is given and does not change."""
        return field in self.config and not self.changes(field)

    @property
    def parameters(self):
        """float, about, of the large model; `None` where sizes are missing."""
        return count(self.final)

    @property
    def small_parameters(self):
        """float, about, of the small model; `None` as above."""
        return count(self.config)

    @property
    def tokens_per_parameter(self):
        """float, of the large model, or `None`."""
        return self.tokens / self.parameters if self.parameters else None

    @property
    def source_per_parameter(self):
        """float, tokens that an existing small model has seen for each of its
        parameters, or `None`."""
        if not self.source_tokens or not self.small_parameters:
            return None
        return self.source_tokens / self.small_parameters

    @property
    def flops(self):
        """float, FLOPs of training the large model from scratch (6 per
        parameter and token), or `None` if unknown."""
        return 6 * self.parameters * self.tokens if self.parameters else None

    def _factor(self, field):
        if field not in self.config or field not in self.target:
            return 1.0
        return _total(self.target[field]) / _total(self.config[field])


def count(sizes):
    """Parameters of a transformer with such sizes, the few of norms and biases
    left out; `None` where width or depth are missing.

    Example:

    >>> count({"hidden_dim": 768, "num_layers": 12, "vocabulary_size": 50257})
    123532032.0
    """
    width, depth = sizes.get("hidden_dim"), sizes.get("num_layers")
    if width is None or depth is None:
        return None
    heads = sizes.get("num_heads", sizes.get("num_query_heads"))
    size = sizes.get("head_dim")
    inner = heads * size if heads and size else width
    ffn = sizes.get("intermediate_dim", 4 * width)
    vocabulary = sizes.get("vocabulary_size", 0)
    return float(depth * (4 * width * inner + 2 * width * ffn)) + (
        vocabulary * width
    )


def _total(size):
    return sum(size) if isinstance(size, (list, tuple)) else size
