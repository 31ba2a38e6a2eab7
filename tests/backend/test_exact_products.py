"""Products of matrices in full precision, whatever is set."""

import contextlib

import keras
import numpy as np
import pytest

import kgrow
from kgrow import backend
from kgrow.growth import context

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="a program says it on JAX"
)


@contextlib.contextmanager
def _rounded():
    """The backend's own setting, with products rounded."""
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("bfloat16"):
            yield lambda: jax.config.jax_default_matmul_precision
    elif keras.backend.backend() == "tensorflow":
        from tensorflow import config

        enable = config.experimental.enable_tensor_float_32_execution
        enable(True)
        yield config.experimental.tensor_float_32_execution_enabled
        enable(False)
    else:
        import torch

        torch.set_float32_matmul_precision("medium")
        yield torch.get_float32_matmul_precision
        torch.set_float32_matmul_precision("highest")


EXACT = {"jax": "highest", "tensorflow": False, "torch": "highest"}


def test_the_user_s_setting_comes_back_after_an_error():
    with _rounded() as setting:
        before = setting()
        with pytest.raises(ZeroDivisionError), backend.exact_products():
            assert setting() == EXACT[keras.backend.backend()] != before
            raise ZeroDivisionError
        assert setting() == before


@pytest.fixture
def precisions(monkeypatch):
    """Those of all products that JAX traces, as a list that grows."""
    import jax

    found, bind = [], jax.lax.dot_general_p.bind

    def noting(*operands, precision, **params):
        if operands[0].dtype != np.bool_:
            found.append(precision)
        return bind(*operands, precision=precision, **params)

    monkeypatch.setattr(jax.lax.dot_general_p, "bind", noting)
    # As on an accelerator, where weights are grown by its own operations.
    monkeypatch.setattr(context.backend, "to_numpy_if_cpu", lambda value: value)
    return found


@pytest.mark.compiles
@on_jax
@pytest.mark.parametrize("name", ["ligo", "mango"])
def test_all_products_of_a_growth_are_exact(name, precisions):
    """The plan applied, the operator learned, outputs compared."""
    import jax

    strategy = kgrow.strategies.get(name)
    if strategy.needs_data:
        strategy = type(strategy)(steps=1, verbose=0)
    # Sizes of this test alone: what is compiled already is not traced.
    model = kgrow.models.MLP(
        input_dim=3,
        output_dim=5,
        hidden_dim=7,
        intermediate_dim=14,
        num_layers=1,
    )
    model.compile("adam", "mse")
    data = np.ones((4, 3), "float32"), np.ones((4, 5), "float32")
    target = {"hidden_dim": 13, "intermediate_dim": 26}
    with jax.default_matmul_precision("bfloat16"):
        model.grow(target, strategy, data=data, seed=0)
        assert precisions
        highest = (jax.lax.Precision.HIGHEST,) * 2
        assert set(precisions) == {highest}
        del precisions[:]
        model.fit(*data, verbose=0)
    # What the user trains with is the user's.
    assert precisions and highest not in precisions
