"""Axes that many architectures share, and a check of their sizes."""

from kgrow.algebra.errors import GrowthError


def check_divides(part, number, whole, total):
    """Raises a `GrowthError` if one field of a config has to divide another
    and does not.

    Args:
        part: string, name of the field that divides.
        number: int, its value.
        whole: string, name of the other field.
        total: int, its value.
    """
    if total % number:
        raise GrowthError(
            f"`{part}` has to divide `{whole}`. Received: {whole}={total}, "
            f"{part}={number}"
        )


def attention_rules(query, key, value, output):
    """Axes of the four linear layers of attention, weights and biases.

    Each head has queries, keys and values of its own, and scores are divided
    by the root of the head's size. Queries and keys are not turned by position.

    Args:
        query: string, a regular expression over the name of the layer. So are
            `key`, `value` and `output`.
    """
    made = {
        query: ("-> [heads qk]", " | qk^0.5"),
        key: ("-> [heads ~qk]", ""),
        value: ("-> [heads value]", ""),
    }
    rules = {}
    for name, (axes, flag) in made.items():
        rules[rf"{name}\.weight"] = f"{axes} ~hidden{flag}"
        rules[rf"{name}\.bias"] = f"{axes}{flag}"
    rules[rf"{output}\.weight"] = "-> hidden [~heads ~value] | residual_out"
    rules[rf"{output}\.bias"] = "-> hidden | residual_out"
    return rules


def feedforward_rules(inner, outer):
    """Axes of a feedforward network of two linear layers.

    Args:
        inner: string, a regular expression over the name of the first layer.
        outer: string, the same for the second.
    """
    return {
        rf"{inner}\.weight": "-> ffn ~hidden",
        rf"{inner}\.bias": "-> ffn",
        rf"{outer}\.weight": "-> hidden ~ffn | residual_out",
        rf"{outer}\.bias": "-> hidden | residual_out",
    }


def norm_rules(name, flag="", axis="hidden"):
    """Axes of a LayerNorm's gain and offset.

    Args:
        name: string, a regular expression over the name of the layer.
        flag: string, `"attention_norm"` or `"ffn_norm"` where the norm ends a
            branch.
        axis: string, `"~hidden"` where what is along the axis is read by a
            transposed table.
    """
    more = f", {flag}" if flag else ""
    return {
        rf"{name}\.(weight|gamma)": f"-> {axis} | scale{more}",
        rf"{name}\.(bias|beta)": f"-> {axis} | offset{more}",
    }
