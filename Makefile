# Two commands: `make run` and `make test`. Both create .venv and install first.
PYTHON ?= python3
VENV ?= .venv
# UNLOCKED=1 installs what the index offers within constraints.txt, without looking at hashes.
UNLOCKED ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet
# Distributions of their own, each with its tests.
CONTRIB := $(patsubst %/pyproject.toml,%,$(wildcard plugins-contrib/*/pyproject.toml))
# A wheel is tried where nothing of the checkout can be imported.
WHEEL := .venv-wheel

.PHONY: run test lint test-lowest package sbom advisories clean

run: $(STAMP)
	$(BIN)/fgl run --baselines all $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy $(CONTRIB:%=%/src)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal $(CONTRIB:%=%/tests)
	$(MAKE) package

# The oldest versions of the command line's libraries that pyproject.toml promises to work with.
test-lowest:
	$(MAKE) $(STAMP:$(VENV)/%=.venv-lowest/%) VENV=.venv-lowest
	.venv-lowest/bin/pip install --quiet typer==0.18.0 rich==14.0.0 pluggy==1.6.0
	.venv-lowest/bin/pytest tests/cli tests/unit $(ARGS)

# Source distribution and wheel in an environment that has only what the wheel itself asks for: the main job with few
# images, away from the checkout; with all of them it is `make run`. Then the source distribution in the wheel's place.
package: $(STAMP)
	rm -rf dist $(WHEEL)
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	$(BIN)/python tools/try_package.py $(WHEEL) --smoke
	PIP_CONSTRAINT=constraints.txt $(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --force-reinstall dist/*.tar.gz
	$(BIN)/python tools/try_package.py $(WHEEL) --smoke

# The bill of materials (CycloneDX) of what runs: the wheel and all that it brings, as `make package` installed it.
sbom: package
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible \
	  --of JSON -o dist/fgl.cdx.json $(WHEEL)/bin/python
	@echo "the bill of materials is dist/fgl.cdx.json"

# Needs an index of advisories (PyPI's, or OSV's with ARGS='-s osv'); a package that it cannot look up is a failure.
advisories: $(STAMP)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock $(ARGS)

# torch first and by itself: its builds for the CPU and for CUDA are different files of one version, and pip prefers the
# index's where it is given hashes. The last line of the recipe completes the libraries of a build for CUDA.
$(STAMP): pyproject.toml constraints.txt requirements.lock $(CONTRIB:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fgl needs Python 3.11 or newer; say which with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifeq ($(UNLOCKED),)
	$(PIP) download --quiet --no-deps -c constraints.txt -d $(VENV)/torch torch
	sed -n '/^torch==/,/[^\\]$$/p' requirements.lock > $(VENV)/torch/requirements.lock
	$(INSTALL) --no-deps --no-index --find-links $(VENV)/torch --require-hashes -r $(VENV)/torch/requirements.lock || \
	  { echo "this build of torch is not in requirements.lock; to install without hashes: make $(MAKECMDGOALS) UNLOCKED=1"; exit 1; }
	rm -rf $(VENV)/torch
	$(INSTALL) --no-deps --require-hashes -r requirements.lock
	$(INSTALL) -c constraints.txt torch
	$(INSTALL) --no-deps --no-build-isolation -e . $(CONTRIB:%=-e %)
else
	$(INSTALL) -c constraints.txt torch
	$(INSTALL) -c constraints.txt -e '.[dev,supply]' $(CONTRIB:%=-e %)
endif
	$(PIP) check
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-lowest $(WHEEL) dist .mypy_cache .ruff_cache .pytest_cache
