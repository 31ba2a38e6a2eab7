"""What every test may rely on: full precision, a fixed seed, no display."""

import contextlib
import os
import sys
import tempfile

import keras
import matplotlib
import pytest
from helpers import selection
from helpers.passed_tests import PassedTests

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

# Most of a test's time is compilation, and its programs are too small to run
# any faster for the compiler's optimizations.
UNOPTIMIZED = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)


def _compile_quickly():
    """Compile without optimizations; programs that tests start do, too."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags += [flag for flag in UNOPTIMIZED if flag not in flags]
    os.environ["XLA_FLAGS"] = " ".join(flags)


def _share_programs():
    """Compile each program once in a run: workers share them on JAX.

    Returns the folder, if this is the process that made it; it is removed
    with the process.
    """
    if keras.backend.backend() != "jax":
        return None
    import jax

    made = None
    if "KGROW_TEST_PROGRAMS" not in os.environ:
        made = tempfile.TemporaryDirectory(prefix="kgrow-programs-")
        os.environ["KGROW_TEST_PROGRAMS"] = made.name
    for name, value in {
        "jax_compilation_cache_dir": os.environ["KGROW_TEST_PROGRAMS"],
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    return made


_compile_quickly()
_programs = _share_programs()


def pytest_addoption(parser):
    parser.addoption(
        "--passed",
        metavar="FILE",
        help="leave out tests that FILE lists; add those that pass",
    )


def pytest_configure(config):
    if config.option.passed or "passed" in getattr(config, "workerinput", ()):
        config.pluginmanager.register(PassedTests(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    elsewhere = set(selection.select(items, keras.backend.backend()))
    if elsewhere:
        items[:] = [item for item in items if item not in elsewhere]
        config.hook.pytest_deselected(items=list(elsewhere))


@pytest.fixture(autouse=True)
def _clean_slate():
    """Each test starts with the same seed, names and precision."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def _nothing_compiled_ahead(request, monkeypatch):
    """Schedules prepare no stage, which would compile most programs of the
    tests twice, unless a test is marked `prepares`."""
    module = sys.modules.get("kgrow.callbacks.stage_preparation")
    if module and not request.node.get_closest_marker("prepares"):
        nothing = lambda *arguments: None  # noqa: E731
        monkeypatch.setattr(module.StagePreparation, "look", nothing)


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
