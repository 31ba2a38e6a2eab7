# Needs Python 3.11 or newer with venv, and nothing else: the first `make demo`
# or `make test` builds .venv, later ones start at once. An installation is
# redone when pyproject.toml changes.

PYTHON   ?= python3
VENV     ?= .venv
# The wheel pip finds under this pin decides CPU or CUDA. To force the small
# CPU build where pip would take the large one, install it into .venv yourself
# first, or point pip at an index that holds CPU wheels.
TORCH    ?= torch==2.13.0
BACKENDS ?= torch jax tensorflow
WORKERS  ?= 2
# Where `make slow` lists what passed. The lists start anew with other code.
PASSED   ?= .slow
ARGS     ?=

CODE := kgrow kgrow_cli
# Examples that only JAX can run.
ON_JAX := kgrow/growth/lowering
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check
TPU_VENV := .venv-tpu
TPU      := $(TPU_VENV)/.installed
TPU_LOG  := $(TPU_VENV).log
# What builds archives has an environment of its own.
RELEASE_VENV := .venv-release
RELEASE      := $(RELEASE_VENV)/.installed
DEMO := $(VENV)/.demo-installed
ALL  := $(VENV)/.all-installed

.DEFAULT_GOAL := help
.PHONY: help demo test slow tpu-environment test-tpu doctest lint format registries types docs bench notebooks dist release clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: export KERAS_BACKEND ?= jax
demo: export TF_CPP_MIN_LOG_LEVEL ?= 2
demo: $(DEMO) ## grow a byte-level GPT on real text; 3 to 5 minutes on two cores
	@$(BIN)/python examples/stdlib_gpt.py $(ARGS)

test: $(ALL) ## the quick tests, once on each backend
	$(call each_backend,)

slow: $(ALL) ## the long tests on each backend; goes on where it was broken off
	$(call each_backend,-m slow -v --passed $(PASSED)/$$backend)

tpu-environment: $(TPU) ## the compiler of TPUs, in an environment of its own

# Where there is no compiler to be had, that is no fault of the code.
test-tpu: ## toys of the families, compiled for a TPU slice; no TPU is needed
	@if $(MAKE) --no-print-directory $(TPU) >$(TPU_LOG) 2>&1; then \
	    KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(TPU_VENV)/bin/python -m pytest \
	        tests/tpu $(ARGS); \
	else tail -n 3 $(TPU_LOG); \
	    echo "test-tpu: skipped, for libtpu cannot be installed here"; \
	fi

doctest: $(ALL) ## the examples in the docstrings, on torch where it can
	@$(ONE_THREAD) KERAS_BACKEND=torch $(BIN)/python -m pytest \
	    -n $(WORKERS) --doctest-modules $(CODE) --ignore=$(ON_JAX) $(ARGS)
	@$(ONE_THREAD) KERAS_BACKEND=jax $(BIN)/python -m pytest \
	    --doctest-modules $(ON_JAX) $(ARGS)

lint: $(ALL) ## ruff: check and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(ALL) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

registries: $(ALL) ## what follows from the registries: exports, pages
	@KERAS_BACKEND=torch $(BIN)/python -m docs.tools.write_registries

types: $(ALL) ## pyright on the library and the command
	@$(BIN)/pyright --pythonpath $(BIN)/python $(CODE)

docs: $(ALL) ## the documentation as a site, into site/; links are checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(ALL) ## every script in benchmarks/, on JAX
	@set -e; for script in $(filter-out benchmarks/report.py benchmarks/pictures.py benchmarks/gpt2_task.py benchmarks/plain_gpt2.py,$(wildcard benchmarks/*.py)); do \
	    echo "== $$script"; \
	    KERAS_BACKEND=$${KERAS_BACKEND:-jax} $(BIN)/python $$script $(ARGS); \
	done

notebooks: $(ALL) ## run all notebooks and store their outputs, on JAX
	@KERAS_BACKEND=$${KERAS_BACKEND:-jax} $(BIN)/python notebooks/execute.py $(ARGS)

dist: $(RELEASE) ## wheel and source archive into dist/, their contents checked
	rm -rf dist
	$(RELEASE_VENV)/bin/python -m build
	$(RELEASE_VENV)/bin/python -m twine check --strict dist/*
	$(RELEASE_VENV)/bin/python .ci/check_release.py dist

release: $(ALL) dist ## both archives, installed in fresh environments and run
	$(BIN)/python .ci/check_release.py dist --borrow $(VENV) $(BACKENDS)

clean: ## what the targets above left behind, .venv included
	rm -rf $(VENV) $(TPU_VENV) $(TPU_VENV).log $(RELEASE_VENV) $(PASSED) \
	    demo dist site \
	    .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# One thread a worker, or the workers fight for the cores.
ONE_THREAD := \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2 \
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

# All backends run, each in its own process, even where an earlier one failed.
# The examples in docstrings are the same everywhere and run on torch, which has
# nothing to compile. A worker takes neighbouring tests, which share fixtures.
define each_backend
@verdict=; status=0; \
for backend in $(BACKENDS); do \
    echo "== $$backend"; \
    what=tests; \
    case $$backend in \
    torch) what="--doctest-modules $(CODE) --ignore=$(ON_JAX) tests" ;; \
    jax) what="--doctest-modules $(ON_JAX) tests" ;; \
    esac; \
    if $(ONE_THREAD) KERAS_BACKEND=$$backend $(BIN)/python -m pytest \
        -n $(WORKERS) --dist worksteal $(1) $$what $(ARGS); \
    then verdict="$$verdict, $$backend passed"; \
    else verdict="$$verdict, $$backend FAILED"; status=1; \
    fi; \
done; \
echo "tests: $${verdict#, }"; exit $$status
endef

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "kgrow needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[jax,plots]'
	@touch $@

$(ALL): pyproject.toml | $(BIN)/python
	$(PIP) install '$(TORCH)'
	$(PIP) install -e '.[jax,tensorflow,torch,hub,tfds,plots,orbax,docs,dev]'
	@touch $@ $(DEMO)

$(RELEASE):
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/python -m pip --disable-pip-version-check install \
	    build twine
	@touch $@

$(TPU): pyproject.toml
	@$(PYTHON) -c 'import platform as p, sys; \
	    sys.exit((p.system(), p.machine()) != ("Linux", "x86_64"))' || \
	    { echo "libtpu is for Linux on x86-64"; exit 1; }
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_VENV)/bin/python -m pip --disable-pip-version-check install \
	    'jax[tpu]==0.10.2' -e '.[plots]' pytest
	@touch $@
