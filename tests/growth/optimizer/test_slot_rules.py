"""The table of slot rules says what measurement says."""

import keras
import pytest
from helpers.training import Foreign
from keras import optimizers

from kgrow import GrowthError
from kgrow.growth.optimizer.slot_rules import RULES, rule_for
from kgrow.growth.optimizer.slot_scaling import WEIGHT, measure_degree
from kgrow.growth.optimizer.slots import find_slots, nested

# Every optimizer that Keras ships, with everything switched on that makes it
# hold a slot.
SHIPPED = {
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Nadam": {},
    "Adamax": {},
    "SGD": {"momentum": 0.9},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {"initial_accumulator_value": 0.0},
    "Adadelta": {},
    "Lion": {},
    "Lamb": {},
    "Adafactor": {},
    "Muon": {},
    "ScheduleFreeAdamW": {},
}


def slots_of(optimizer):
    variables = [keras.Variable([[1.0, 2.0], [3.0, 4.0]], name="kernel")]
    optimizer.build(variables)
    return find_slots(optimizer)


def slot_names():
    for name, arguments in SHIPPED.items():
        cls = getattr(optimizers, name, None)
        if cls is not None:
            for slot in slots_of(cls(**arguments)):
                yield name, slot


@pytest.mark.parametrize("name, slot", slot_names())
def test_rules_agree_with_measurement(name, slot):
    if name == "Adafactor" and keras.backend.backend() == "tensorflow":
        pytest.skip("Keras' own step of Adafactor fails on TensorFlow")
    optimizer = getattr(optimizers, name)(**SHIPPED[name])
    assert rule_for(optimizer, slot).degree == measure_degree(optimizer, slot)


def test_every_rule_is_of_a_slot_that_exists():
    found = set()
    for name, arguments in {**SHIPPED, "Ftrl": {}}.items():
        extra = dict(use_ema=True, gradient_accumulation_steps=2)
        optimizer = getattr(optimizers, name)(**arguments, **extra)
        for slot in slots_of(optimizer):
            found |= {slot, f"{name}.{slot}"}
    kernel = keras.Variable([1.0], name="bias")
    muon = optimizers.Muon()
    muon.build([kernel])
    found |= set(find_slots(muon))
    assert set(RULES) <= found


def test_unknown_slots_are_measured():
    degrees = {"pull": 1, "power": 2, "trend": 0, "home": WEIGHT}
    optimizer = Foreign(0.01)
    assert {s: rule_for(optimizer, s).degree for s in degrees} == degrees


def test_a_name_that_keras_uses_says_nothing_in_a_foreign_class():
    class Swapped(Foreign):
        def build(self, variables):
            super().build(variables)
            self._velocities = self.pull

    assert rule_for(Swapped(0.01), "_velocities").degree == 1


def test_a_slot_without_a_law_is_refused():
    class Lawless(Foreign):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)
            i = self._get_variable_index(variable)
            self.assign(self.pull[i], keras.ops.log(1.0 + gradient))

    with pytest.raises(GrowthError, match="register_slot_rule"):
        rule_for(Lawless(0.01), "pull")


def test_nested_optimizers_are_found_once():
    inner = optimizers.Adam()
    outer = optimizers.LossScaleOptimizer(inner)
    assert nested(outer) == [outer, inner]
