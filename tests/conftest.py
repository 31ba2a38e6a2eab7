"""What every test may rely on: full precision, a fixed seed, no display."""

import collections
import contextlib

import keras
import matplotlib
import pytest

import kgrow

matplotlib.use("Agg")

# Programs that tests start: they set up devices of their own when imported.
collect_ignore = [
    "golden",
    "helpers",
    "programs",
]


def _full_precision_matmul():
    """No TF32: a test of equality must not depend on the accelerator."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    elif backend == "torch":
        import torch

        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


_full_precision_matmul()


# What is tested of them all is tested of these on every backend, and of the
# others on torch, where nothing waits for a compiler.
_EVERYWHERE = ("BERT", "GPT2", "MLP")


# Where the cases of a test are a grid, every third one, and others on each.
_THIRDS = {"jax": 0, "tensorflow": 1}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What mostly waits for a compiler is a quick test on torch alone."""
    if keras.backend.backend() == "torch":
        return
    seen = collections.Counter()
    for item in items:
        if "compiles" in item.keywords or _of_another_family(item):
            item.add_marker(pytest.mark.slow)
        elif "grid" in item.keywords:
            name = item.nodeid.partition("[")[0]
            if seen[name] % 3 != _THIRDS[keras.backend.backend()]:
                item.add_marker(pytest.mark.slow)
            seen[name] += 1


def _of_another_family(item):
    """Whether a test of all families is run for one of the rest."""
    if not hasattr(item, "callspec"):
        return False
    params = item.callspec.params
    family = str(params.get("family", params.get("growth", ""))).split("-")[0]
    return family in kgrow.models.__all__ and family not in _EVERYWHERE


@pytest.fixture(autouse=True)
def _clean_slate():
    """Each test starts with the same seed, names and precision."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def float64():
    """Layers made in the test compute in double precision."""
    with _double_precision():
        keras.config.set_dtype_policy("float64")
        yield


def _double_precision():
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)
