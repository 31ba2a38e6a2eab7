"""The sizes at which methods are compared, each a few times the one before.

Widths are multiples of 48 in six heads, so that halves and two thirds of them
are whole. Vocabularies are small: the output layer then takes at most about
15 % of a step's FLOPs, as in models of the usual size, so that growing blocks
has something to save.
"""

from dataclasses import dataclass

_HEADS = 6


@dataclass(frozen=True)
class Rung:
    """One size of a language model.

    Args:
        name: String.
        width: Integer, of the residual stream; feedforward networks are four
            times as wide.
        layers: Integer, blocks.
        vocabulary: Integer, subwords.
        length: Integer, tokens in a sequence.
    """

    name: str
    width: int
    layers: int
    vocabulary: int
    length: int = 128

    @property
    def sizes(self):
        """What grows, as fields of `kgrow.models.GPT2`."""
        return {
            "hidden_dim": self.width,
            "intermediate_dim": 4 * self.width,
            "num_heads": _HEADS,
            "head_dim": self.width // _HEADS,
            "num_layers": self.layers,
        }

    @property
    def halves(self):
        """Half of everything but the size of a head."""
        small = {field: size // 2 for field, size in self.sizes.items()}
        return {**small, "head_dim": self.sizes["head_dim"]}

    @property
    def half_width(self):
        """Half of everything but the size of a head and the depth."""
        return {**self.halves, "num_layers": self.layers}

    @property
    def fixed(self):
        """What does not grow."""
        return {
            "vocabulary_size": self.vocabulary,
            "max_sequence_length": self.length,
            "dropout": 0.0,
        }

    @property
    def block_weights(self):
        """Integer, the weights of all blocks: kernels, biases and norms."""
        width = self.width
        return self.layers * (12 * width**2 + 13 * width)

    def steps(self, tokens_per_weight, batch):
        """Training steps for so many tokens a weight of the blocks."""
        tokens = tokens_per_weight * self.block_weights
        return round(tokens / (batch * self.length))


RUNGS = {
    rung.name: rung
    for rung in (
        Rung("toy", 12, 4, 300, length=16),
        Rung("XS", 48, 4, 512),
        Rung("S", 96, 4, 512),
        Rung("M", 144, 4, 1024),
        Rung("L", 192, 4, 1024),
    )
}
