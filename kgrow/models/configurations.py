"""Models by name: the sizes of those that papers on growth start from and
arrive at.

Fields that a table leaves out have the values of its models' own papers:
feedforward networks are four times as wide as the stream, images have 3 colours
and 1000 classes. The sequence lengths that the tables print are those of the
inputs; tables of positions are as long as in the models' own papers.
"""

import difflib
import inspect

from kgrow.algebra.errors import GrowthError
from kgrow.models.registry import registered

# Family, layers, width, heads, vocabulary, positions.
_TEXT = {
    # LiGO (2303.00980), Table 4. Mango (2310.10699), Table 5, has a model of
    # the same name with 12 layers, which is "bert_small_12" here.
    "bert_small": ("BERT", 6, 512, 8, 30522, 512),
    # Mango, Table 5, its BERT-Small.
    "bert_small_12": ("BERT", 12, 512, 8, 30522, 512),
    # Both tables; inputs of 128 tokens in LiGO's, of 512 in Mango's.
    "bert_base": ("BERT", 12, 768, 12, 30522, 512),
    # Mango, Table 5.
    "bert_large": ("BERT", 24, 1024, 16, 30522, 512),
    # LiGO, Table 4.
    "roberta_small": ("RoBERTa", 6, 512, 8, 50265, 512),
    "roberta_base": ("RoBERTa", 12, 768, 12, 50265, 512),
    # Mango, Table 5, its GPT-Small. What OpenAI calls small is "gpt2_base".
    "gpt2_small": ("GPT2", 12, 512, 8, 50257, 1024),
    # Both tables.
    "gpt2_base": ("GPT2", 12, 768, 12, 50257, 1024),
    # LiGO, Table 4.
    "gpt2_medium": ("GPT2", 24, 1024, 16, 50257, 1024),
}

# Family, layers, width, heads, and fields of that family alone. The models of
# DeiT (2012.12877) that are trained without a teacher are plain ViTs.
_IMAGES = {
    # Mango, Table 4: DeiT-T-A, -T-B, -T-C. The second one's patch size is
    # printed as 224, that of the whole image; all others have 16.
    "deit_tiny_a": ("ViT", 12, 192, 3, {}),
    "deit_tiny_b": ("ViT", 8, 384, 6, {}),
    "deit_tiny_c": ("ViT", 10, 320, 5, {}),
    # LiGO, Table 4, and Mango, Table 4.
    "deit_small": ("ViT", 12, 384, 6, {}),
    "deit_base": ("ViT", 12, 768, 12, {}),
    # LiGO, Sec. 4.1, which names CaiT-XS and CaiT-S and gives no sizes: those
    # of XS-24 and S-24 in CaiT (2103.17239).
    "cait_xs": ("CaiT", 24, 288, 6, {"num_class_layers": 2}),
    "cait_small": ("CaiT", 24, 384, 8, {"num_class_layers": 2}),
}

# Width of the first stage, layers and heads of each. Mango, App. A.2, which
# gives no sizes: those of Swin (2103.14030), Sec. 3.3.
_SWIN = {
    "swin_tiny": (96, [2, 2, 6, 2], [3, 6, 12, 24]),
    "swin_small": (96, [2, 2, 18, 2], [3, 6, 12, 24]),
}


def names():
    """Names of all configurations, family by family.

    Example:

    >>> names()[:3]
    ['bert_small', 'bert_small_12', 'bert_base']
    """
    return [*_TEXT, *_IMAGES, *_SWIN]


def configuration(name):
    """The fields of a named model.

    Args:
        name: string, one of `names()`.

    Returns:
        dict with the name of the class under `"family"`, and its fields; a
        new one at every call.

    Raises:
        GrowthError: there is no such name.

    Example:

    >>> fields = configuration("gpt2_base")
    >>> fields["family"], fields["hidden_dim"], fields["num_layers"]
    ('GPT2', 768, 12)

    Reference:

    - Wang et al., "Learning to Grow Pretrained Models for Efficient
      Transformer Training" (2303.00980, LiGO), Table 4.
    - Pan et al., "Reusing Pretrained Models by Multi-linear Operators for
      Efficient Training" (2310.10699, Mango), Tables 4 and 5.
    """
    if name in _TEXT:
        family, layers, width, heads, vocabulary, positions = _TEXT[name]
        return {
            "family": family,
            "vocabulary_size": vocabulary,
            "num_layers": layers,
            "num_heads": heads,
            "hidden_dim": width,
            "intermediate_dim": 4 * width,
            "max_sequence_length": positions,
        }
    if name in _IMAGES:
        family, layers, width, heads, more = _IMAGES[name]
        return {
            "family": family,
            "image_size": 224,
            "patch_size": 16,
            "num_channels": 3,
            "num_layers": layers,
            "num_heads": heads,
            "hidden_dim": width,
            "intermediate_dim": 4 * width,
            "num_classes": 1000,
            **more,
        }
    if name in _SWIN:
        width, depths, heads = _SWIN[name]
        return {
            "family": "Swin",
            "image_size": 224,
            "patch_size": 4,
            "num_channels": 3,
            "embed_dim": width,
            "depths": list(depths),
            "num_heads": list(heads),
            "window_size": 7,
            "num_classes": 1000,
        }
    raise GrowthError(
        f"Unknown configuration.{_hint(name, names())} Received: {name!r}. "
        f"There are: {', '.join(names())}"
    )


def build(name, /, **overrides):
    """Builds a named model.

    Args:
        name: string, one of `names()`.
        **overrides: fields that are to be others, and the model's `name` and
            `dtype`.

    Returns:
        A growable model, untrained.

    Raises:
        GrowthError: there is no such name, or its family has no such field.

    Example:

    >>> model = build("bert_small", num_layers=1, vocabulary_size=100)
    >>> model.growth_config["hidden_dim"]
    512
    """
    fields = configuration(name)
    family = registered()[fields.pop("family")]
    known = list(inspect.signature(family).parameters)
    for field, value in overrides.items():
        if field not in known:
            raise GrowthError(
                f"`{family.__name__}` has no field `{field}`."
                f"{_hint(field, known)} Received: {field}={value!r}"
            )
    return family(**{**fields, **overrides})


def _hint(word, known):
    near = difflib.get_close_matches(str(word), known, n=3)
    if not near:
        return ""
    return f" Did you mean {' or '.join(map(repr, near))}?"
