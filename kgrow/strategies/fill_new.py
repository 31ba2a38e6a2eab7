"""One strategy's rules, another's values for what is new."""

import dataclasses

import keras

from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import get, register, serialize


@register("filled")
@keras.saving.register_keras_serializable("kgrow")
class Filled(Strategy):
    """New entries under one strategy's rules, with values of another's.

    `rules` says where old weights stand and which new ones must be zero;
    wherever it would draw new entries from the layers' initializers, they are
    what `entries` would have put there, learned first if it learns. So a LiGO
    operator can make the incoming weights of units that nobody reads yet, and
    the function is kept while they are better than random.

    Args:
        rules: a strategy that leaves new entries to initializers, such as
            `"direct"` or `"lemon"`.
        entries: a strategy for the values.

    Example:

    >>> Filled(entries="net2net").learns
    False
    """

    is_whole = True

    def __init__(self, rules="direct", entries="ligo"):
        self.rules = get(rules)
        self.entries = get(entries)
        self.learns = self.rules.learns or self.entries.learns

    def plan(self, source, target, seed=0):
        return self.rules.plan(source, target, seed)

    def refine(self, plan, task):
        entries = self.entries.plan(plan.source, plan.target, plan.seed)
        entries = self.entries.refine(entries, task)
        plan = self.rules.refine(plan, task)
        given = task.grown(entries)
        return dataclasses.replace(plan, given={**given, **plan.given})

    def claims(self, plan):
        return self.rules.claims(plan)

    def __repr__(self):
        return f"Filled(rules={self.rules!r}, entries={self.entries!r})"

    def get_config(self):
        return {
            "rules": serialize(self.rules),
            "entries": serialize(self.entries),
        }
