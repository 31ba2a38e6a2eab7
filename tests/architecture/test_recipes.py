"""How networks are made again: recipes that other packages register."""

import json
import sys

import keras
import pytest

import kgrow
from kgrow.architecture import recipes
from kgrow.architecture.recipes import (
    ClassRecipe,
    load_recipe,
    recipe_of,
    register_recipe,
)
from kgrow.hub.task_recipe import TaskRecipe


def mlp():
    return kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=4,
        intermediate_dim=3,
        num_layers=1,
    ).network


class Wrapped(keras.Model):
    """A network around another, whose config says nothing of sizes."""

    def __init__(self, inner):
        super().__init__(name="wrapped")
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


@pytest.fixture
def wrapped(monkeypatch):
    monkeypatch.setattr(recipes, "_RECIPES", dict(recipes._RECIPES))
    monkeypatch.setattr(recipes, "_RECOGNIZED", [*recipes._RECOGNIZED])

    @register_recipe("wrapped", lambda n: isinstance(n, Wrapped))
    class WrappedRecipe:
        def __init__(self, network):
            self.inner = ClassRecipe(network.inner)
            self.config = self.inner.config

        @classmethod
        def from_source(cls, found, source):
            assert found is Wrapped
            recipe = object.__new__(cls)
            recipe.inner = load_recipe(source["inner"])
            recipe.config = recipe.inner.config
            return recipe

        def make(self, fields):
            return Wrapped(self.inner.make(fields))

        def source(self):
            return {
                "kind": "wrapped",
                "module": Wrapped.__module__,
                "name": Wrapped.__qualname__,
                "inner": self.inner.source(),
            }

    return WrappedRecipe


def test_a_recipe_from_outside_is_chosen_and_described(wrapped, monkeypatch):
    network = Wrapped(mlp())
    recipe = recipe_of(network)
    assert type(recipe) is wrapped
    assert recipe.make({"hidden_dim": 6}).inner.hidden_dim == 6
    # Test modules are imported by path, and not found by name.
    monkeypatch.setitem(sys.modules, Wrapped.__module__, sys.modules[__name__])
    again = load_recipe(json.loads(json.dumps(recipe.source())))
    assert again.make({"hidden_dim": 5}).inner.hidden_dim == 5


def test_hub_fills_in_its_own():
    assert recipes._RECIPES["task"] is TaskRecipe
    assert type(recipe_of(mlp())) is ClassRecipe


def test_a_class_that_is_gone_is_named():
    with pytest.raises(kgrow.GrowthError, match="There is no 'Gone'"):
        load_recipe({"kind": "class", "module": "kgrow", "name": "Gone"})
