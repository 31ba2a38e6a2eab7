"""What one run is: a line of the queue."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace


@dataclass(frozen=True)
class RunSpec:
    """All that decides a run's result, but for the machine's rounding.

    Args:
        rung: String, a key of `RUNGS`.
        text: String, as `kgrow.datasets.text.text.Text` takes it.
        recipe: String, a key of `RECIPES`.
        options: Dict, the recipe's arguments.
        seed: Integer, of the initial weights, the batches and the growths.
        tokens: Number, tokens for each weight of the final model's blocks.
        decay: String, a key of `DECAYS`: the shape of the rate.
        rate: Float, the highest learning rate.
        batch: Integer, sequences in a batch.
        weight_decay: Float.

    Example:

    >>> spec = RunSpec("XS", "english", "scratch", tokens=20)
    >>> spec == RunSpec.from_json(spec.to_json())
    True
    """

    rung: str
    text: str
    recipe: str
    options: dict = field(default_factory=dict)
    seed: int = 0
    tokens: float = 20
    decay: str = "wsd"
    rate: float = 6e-3
    batch: int = 8
    weight_decay: float = 0.1

    @property
    def key(self):
        """A short hash: equal runs have equal keys."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def name(self):
        """The recipe and its options; runs of one name differ in their seed
        and in how they were trained only."""
        options = [
            f"{name}={value}" for name, value in sorted(self.options.items())
        ]
        return " ".join([self.recipe, *options])

    def to_json(self):
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line):
        return cls(**json.loads(line))

    def replaced(self, **changes):
        return replace(self, **changes)
