# make demo    from nothing to a photograph, its bytes and its mask
# make test    lint, types, guards and every test; the runtime's tests run without torch and onnx
# make help    the other targets
#
# PYTHON picks the interpreter that makes the virtual environments (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
RUNTIME_VENV ?= .venv-runtime
DEMO_OUT ?= demo-out
PYTEST_ARGS ?=

BIN := $(VENV)/bin
RUNTIME_BIN := $(RUNTIME_VENV)/bin
PIP_INSTALL := python -m pip install --quiet --disable-pip-version-check
TENSORRT_RTX := tensorrt-rtx==1.7.1.116
PYTRITON := nvidia-pytriton==0.7.0

# Waiting threads sleep instead of spinning: on a machine that does anything else beside, torch's small operations are
# ten times slower otherwise.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help
help:
	@echo "make demo          export the seg task, run a photograph through it, verify; leaves $(DEMO_OUT)/"
	@echo "make test          everything CI runs (under 15 minutes on 2 cores)"
	@echo "make lint          ruff"
	@echo "make types         mypy, strict"
	@echo "make unit          pytest in the full environment"
	@echo "make runtime-test  pytest in an environment without torch and onnx, with NumPy 2"
	@echo "make soak          the tests that take minutes, and the property tests on new random examples"
	@echo "make clean         remove the environments, caches and $(DEMO_OUT)/"

# ---- environments -------------------------------------------------------------------------------------------------------
# A stamp is newer than what it installed from, so a second run installs nothing.

define check_python
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "ptp-deploy needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo 'not there')." \
	"Name another one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
endef

$(VENV)/.created: constraints.txt
	@$(check_python)
	@echo "Creating $(@D) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/$(PIP_INSTALL) -c constraints.txt pip setuptools wheel
	@touch $@

$(RUNTIME_VENV)/.created: constraints-runtime.txt
	@$(check_python)
	@echo "Creating $(@D) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(RUNTIME_VENV)
	@$(RUNTIME_BIN)/$(PIP_INSTALL) -c constraints-runtime.txt pip
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	@echo "Installing the runtime and the exporter into $(VENV) (torch and its friends: a few minutes the first time)"
	@$(BIN)/$(PIP_INSTALL) -c constraints.txt -e '.[cpu,export]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo pyproject.toml
	@echo "Installing the test tools and TensorRT-RTX into $(VENV)"
	@$(BIN)/$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@# Its source package reads setuptools and wheel from the environment it is installed into.
	@$(BIN)/$(PIP_INSTALL) -c constraints.txt --no-build-isolation '$(TENSORRT_RTX)' \
		|| { echo "$(TENSORRT_RTX) could not be installed (Linux on x86-64 or ARM64 is needed). The tests build real engines" \
		"with it, so they cannot be complete without it." >&2; exit 1; }
	@# A real Triton for its test; of PyTriton only the server inside is used. It is skipped where no wheel fits.
	@$(BIN)/$(PIP_INSTALL) --no-deps '$(PYTRITON)' || echo "$(PYTRITON) could not be installed: its test is skipped"
	@touch $@

$(RUNTIME_VENV)/.test: $(RUNTIME_VENV)/.created pyproject.toml
	@echo "Installing the runtime alone into $(RUNTIME_VENV)"
	@$(RUNTIME_BIN)/$(PIP_INSTALL) -c constraints-runtime.txt -e '.[cpu]' pytest hypothesis
	@touch $@

# ---- demo ---------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.demo
	@rm -rf $(DEMO_OUT)
	@mkdir -p $(DEMO_OUT)
	@cp export/ptp_export/photos/cat.jpg $(DEMO_OUT)/
	$(BIN)/ptp-export --task seg --fp16 -o $(DEMO_OUT)/bundle
	$(BIN)/ptp infer $(DEMO_OUT)/bundle $(DEMO_OUT)/cat.jpg -o $(DEMO_OUT)
	$(BIN)/ptp verify $(DEMO_OUT)/bundle
	@echo
	@echo "Look at   $(DEMO_OUT)/cat.overlay.png   the photograph and the mask decoded from $$(wc -c < $(DEMO_OUT)/cat.ptp) bytes"
	@echo "          $(DEMO_OUT)/cat.mask.png      the mask, a palette PNG"
	@echo "          $(DEMO_OUT)/cat.ptp           the bytes"
	@echo "          $(DEMO_OUT)/bundle/           what a device needs: graphs, tables, manifest.json"

# ---- tests --------------------------------------------------------------------------------------------------------------

.PHONY: test lint types unit tests-whole tests-parts runtime-test soak
test: lint
	@$(MAKE) --no-print-directory -j2 tests-whole types tests-parts runtime-test

lint: $(VENV)/.test
	$(BIN)/ruff check --no-cache .

types: $(VENV)/.test
	$(BIN)/mypy

# Two halves side by side: most tests keep one core busy. Whole bundles are exported in the first alone. Tests of the
# runtime run once, in the runtime's own environment; here they would see nothing else but an older NumPy.
unit:
	@$(MAKE) --no-print-directory -j2 tests-whole tests-parts

tests-whole: $(VENV)/.test
	$(BIN)/python -m pytest tests/integration -m 'not soak and not runtime' $(PYTEST_ARGS)

tests-parts: $(VENV)/.test
	$(BIN)/python -m pytest --ignore=tests/integration -m 'not soak and not runtime' $(PYTEST_ARGS)

runtime-test: $(RUNTIME_VENV)/.test
	@$(RUNTIME_BIN)/python -c 'import importlib.util as u, numpy; assert numpy.__version__ >= "2"; assert not any(map(u.find_spec, \
	("torch", "onnx", "compressai", "scipy"))), "the runtime environment holds more than the runtime"'
	$(RUNTIME_BIN)/python -m pytest -m 'runtime and not soak' $(PYTEST_ARGS)

soak: $(VENV)/.test
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -m 'soak or (runtime and not soak)' $(PYTEST_ARGS)

.PHONY: clean
clean:
	rm -rf $(VENV) $(RUNTIME_VENV) $(DEMO_OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
