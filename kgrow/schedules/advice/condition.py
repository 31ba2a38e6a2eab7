"""Conditions on a case, written as data."""

from dataclasses import dataclass, fields

from kgrow.algebra.errors import GrowthError

# Numbers of a case that a condition may bound.
NUMBERS = (
    "width_factor",
    "depth_factor",
    "tokens_per_parameter",
    "source_per_parameter",
)
_BOUNDS = ("above", "at_most", "equal", "whole")


@dataclass(frozen=True)
class Bounds:
    """A condition on a number; it fails where the number is unknown.

    Args:
        above: number that it must exceed, or `None`.
        at_most: number that it must not exceed, or `None`.
        equal: number that it must be, or `None`.
        whole: bool, whether it is a whole number, or `None`.

    Example:

    >>> Bounds(above=2, at_most=4).hold(3), Bounds(whole=False).hold(3)
    (True, False)
    """

    above: float | None = None
    at_most: float | None = None
    equal: float | None = None
    whole: bool | None = None

    def hold(self, number):
        """Whether a number, or `None`, meets all of them."""
        if number is None:
            return False
        return not (
            (self.above is not None and number <= self.above)
            or (self.at_most is not None and number > self.at_most)
            or (self.equal is not None and number != self.equal)
            or (self.whole is not None and (number % 1 == 0) != self.whole)
        )

    def __str__(self):
        said = {
            "above": f"above {self.above}",
            "at_most": f"at most {self.at_most}",
            "equal": f"{self.equal}",
            "whole": "whole" if self.whole else "not whole",
        }
        return " and ".join(
            said[name] for name in _BOUNDS if getattr(self, name) is not None
        )


@dataclass(frozen=True)
class Condition:
    """A condition on a case: it holds if every part that is given does.

    Args:
        family: tuple of families, one of which it is.
        grows: tuple of directions, exactly those that grow.
        includes: tuple of directions, all of which grow.
        start: `"run"` where the small model is a part of the run,
            `"checkpoint"` where it exists already.
        strategy: tuple of strategies, one of which is advised.
        changes: tuple of config fields that grow.
        keeps: tuple of config fields that are given and do not.
        width_factor, depth_factor, tokens_per_parameter, source_per_parameter:
            `Bounds` on these numbers of the case.

    Example:

    >>> from kgrow.schedules.advice.case import Case
    >>> case = Case({"num_layers": 6}, {"num_layers": 12}, 1e9)
    >>> Condition.read({"grows": ["depth"], "start": "run"}).holds(case, None)
    True
    """

    family: tuple = ()
    grows: tuple = ()
    includes: tuple = ()
    start: str | None = None
    strategy: tuple = ()
    changes: tuple = ()
    keeps: tuple = ()
    width_factor: Bounds | None = None
    depth_factor: Bounds | None = None
    tokens_per_parameter: Bounds | None = None
    source_per_parameter: Bounds | None = None

    @classmethod
    def read(cls, table):
        """The condition that a table of a file says.

        Raises:
            GrowthError: a key is none of a condition's or of its bounds'.
        """
        check_keys(table, [field.name for field in fields(cls)])
        read = {}
        for key, value in table.items():
            if key in NUMBERS:
                check_keys(value, _BOUNDS)
                value = Bounds(**value)
            elif key != "start":
                value = tuple(value)
            read[key] = value
        return cls(**read)

    def holds(self, case, strategy):
        """Whether a `Case`, and the strategy advised for it, meet it."""
        return (
            (not self.family or case.family in self.family)
            and (not self.grows or case.grows == set(self.grows))
            and set(self.includes) <= case.grows
            and self.start in (None, case.start)
            and (not self.strategy or strategy in self.strategy)
            and all(case.changes(field) for field in self.changes)
            and all(case.keeps(field) for field in self.keeps)
            and all(
                getattr(self, name).hold(getattr(case, name))
                for name in NUMBERS
                if getattr(self, name) is not None
            )
        )

    def __str__(self):
        said = [" or ".join(self.family)]
        if self.grows:
            said.append(f"grows {' and '.join(self.grows)} alone")
        if self.includes:
            said.append(f"grows {' and '.join(self.includes)}")
        if self.start:
            start = {"run": "in one run", "checkpoint": "from a checkpoint"}
            said.append(start[self.start])
        if self.strategy:
            said.append(" or ".join(f"`{name}`" for name in self.strategy))
        said += [f"`{field}` changes" for field in self.changes]
        said += [f"`{field}` stays" for field in self.keeps]
        for name in NUMBERS:
            if getattr(self, name) is not None:
                said.append(f"{_LABELS[name]} {getattr(self, name)}")
        return ", ".join(filter(None, said)) or "always"


_LABELS = {
    "width_factor": "width factor",
    "depth_factor": "depth factor",
    "tokens_per_parameter": "tokens for a parameter",
    "source_per_parameter": "the source's tokens for a parameter",
}


def check_keys(table, known, required=()):
    """Raises `GrowthError` for keys that are unknown, or missing."""
    unknown = sorted(set(table) - set(known))
    missing = sorted(set(required) - set(table))
    if unknown or missing:
        raise GrowthError(
            f"A table of the evidence has the keys {sorted(known)}, of which "
            f"{sorted(required)} are required. Received: {dict(table)}; "
            f"unknown: {unknown}, missing: {missing}"
        )
