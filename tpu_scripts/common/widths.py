"""Sizes that waste a part of the matrix unit.

A matrix unit computes in tiles: a layer of 168 units costs what one of 256
does where tiles are 128 wide. Heads are narrower than a tile as a rule, and
the narrower, the more is wasted: at a width of 768 in all, heads of 48 cost
1.95 times the cycles of heads of 128 on v5e, heads of 64 cost 1.5 times (the
compiler's estimates, not measured).
"""

_HEADS = "head_dim"
_LEAST_HEAD = 64


def advice(sizes, tile):
    """What of a stage's sizes wastes tiles, and the next sizes that do not.

    Args:
        sizes: dict of the model's fields.
        tile: int, the width of the matrix unit.

    Returns:
        list of strings.

    Example:

    >>> advice({"hidden_dim": 168, "head_dim": 64, "num_layers": 3}, 128)
    ['hidden_dim=168 costs as much as 256: take 128 or 256']
    >>> advice({"hidden_dim": 256, "head_dim": 48}, 128)
    ['head_dim=48 is narrow: 64 at least, better 128']
    """
    found = []
    for field, size in sizes.items():
        if field == _HEADS:
            if size < _LEAST_HEAD:
                found.append(
                    f"{field}={size} is narrow: {_LEAST_HEAD} at least, "
                    "better 128"
                )
        elif _is_width(field, size) and size % tile:
            below = size // tile * tile
            above = below + tile
            near = " or ".join(str(n) for n in (below, above) if n)
            found.append(
                f"{field}={size} costs as much as {above}: take {near}"
            )
    return found


def _is_width(field, size):
    return field.endswith("_dim") and isinstance(size, int)
