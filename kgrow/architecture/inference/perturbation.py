"""Which config field moves which size: found by moving one at a time."""

import itertools
from dataclasses import dataclass

from kgrow.algebra.config_fields import base


@dataclass(frozen=True)
class Change:
    """One or two fields that are changed together.

    Args:
        values: `{field: new value}`, entries of lists written as
            `"depths[2]"`.
    """

    values: tuple[tuple[str, int], ...]

    @property
    def fields(self):
        return tuple(field for field, _ in self.values)

    def applied(self, config):
        """The config with the change in it.

        Example:

        >>> Change((("depths[1]", 3),)).applied({"depths": (2, 2)})
        {'depths': [2, 3]}
        """
        config = dict(config)
        for field, value in self.values:
            name = base(field)
            if name == field:
                config[name] = value
            else:
                entries = list(config[name])
                entries[int(field[len(name) + 1 : -1])] = value
                config[name] = entries
        return config


def integer_fields(config):
    """`{field: value}` of the positive integers in a config, those in lists
    too.

    Example:

    >>> integer_fields({"depths": [2, 3], "dropout": 0.1, "bias": True})
    {'depths[0]': 2, 'depths[1]': 3}
    """
    found = {}
    for name, value in config.items():
        if _is_size(value):
            found[name] = int(value)
        elif isinstance(value, (list, tuple)):
            for place, entry in enumerate(value):
                if _is_size(entry):
                    found[f"{name}[{place}]"] = int(entry)
    return found


def doublings(config, works):
    """The changes that can be made: each field doubled, or with another one.

    Args:
        config: dict.
        works: function from a `Change` to what comes of it, or `None` if it
            cannot be made.

    Returns:
        `[(Change, what came of it), ...]`
    """
    sizes = integer_fields(config)
    found, alone = [], set()
    for field, value in sizes.items():
        for times in (2, 3):
            change = Change(((field, times * value),))
            result = works(change)
            if result is not None:
                found.append((change, result))
                alone.add(field)
                break
    for one, other in itertools.permutations(sizes, 2):
        if one in alone:
            continue
        change = Change(((one, 2 * sizes[one]), (other, 2 * sizes[other])))
        result = works(change)
        if result is not None:
            found.append((change, result))
            alone.add(one)
    return found


def _is_size(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
