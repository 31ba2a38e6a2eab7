"""Names of dimensions and stacks, from the config fields that move them."""

import re

# Usual names of dimensions, by the config fields of KerasHub's classes and
# others.
_USUAL = {
    "hidden_dim": "hidden",
    "hidden_size": "hidden",
    "embed_dim": "hidden",
    "d_model": "hidden",
    "intermediate_dim": "ffn",
    "intermediate_size": "ffn",
    "mlp_dim": "ffn",
    "num_heads": "heads",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "num_query_heads": "query_heads",
    "vocabulary_size": "vocab",
    "vocab_size": "vocab",
    "max_sequence_length": "positions",
    "num_segments": "segments",
    "num_classes": "classes",
    "num_experts": "experts",
}


def dimension_names(groups):
    """A name for each dimension.

    Among those of a field one gets the field's usual name: best one of the
    size that the field says, then the one that is used most. The others get
    that of the layer that they come up in first.

    Args:
        groups: list of `(field, path of the first variable, rank)`.

    Returns:
        list of strings, all different.

    Example:

    >>> dimension_names([("hidden_dim", "embedding/w", (True, 9)),
    ...     ("hidden_dim", "block_0/query/kernel", (False, 4))])
    ['hidden', 'query']
    """
    main = {}
    for place, (field, _, rank) in enumerate(groups):
        if field not in main or rank > groups[main[field]][2]:
            main[field] = place
    names = []
    for place, (field, path, _) in enumerate(groups):
        network, dot, own = field.rpartition(".")
        usual = f"{network}{dot}{_USUAL.get(own) or own}"
        wanted = _word(usual if main[field] == place else _layer(path))
        names.append(_unused(wanted, names))
    return names


def stack_name(prefix, used):
    """A name for a stack of blocks, from what their paths begin with.

    Example:

    >>> stack_name("encoder/transformer_layer_", [])
    'transformer_layer'
    """
    return _unused(_word(prefix.rstrip("/").split("/")[-1]) or "blocks", used)


def _layer(path):
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 else parts[-1]


def _word(text):
    word = re.sub(r"\W+", "_", text).strip("_")
    return word if word and not word[0].isdigit() else f"d_{word}".strip("_")


def _unused(name, used):
    if name not in used:
        return name
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"
