# Two commands: `make run` and `make test`. Both create .venv and install first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint test-lowest clean

run: $(STAMP)
	$(BIN)/fgl run --controls all $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal $(ARGS)
	$(BIN)/pytest plugins-contrib/fgl-example-prompts/tests

# The oldest versions of the command line's libraries that pyproject.toml promises to work with.
test-lowest:
	$(MAKE) $(STAMP:$(VENV)/%=.venv-lowest/%) VENV=.venv-lowest
	.venv-lowest/bin/pip install --quiet typer==0.18.0 rich==14.0.0 pluggy==1.6.0
	.venv-lowest/bin/pytest tests/cli tests/unit $(ARGS)

$(STAMP): pyproject.toml constraints.txt plugins-contrib/fgl-example-prompts/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fgl needs Python 3.11 or newer; say which with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -e plugins-contrib/fgl-example-prompts
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-lowest .mypy_cache .ruff_cache .pytest_cache
