# Needs Python 3.11 or newer, and nothing else (tests of Node's SDKs also use npm where it is there).
# On Windows, the README has the same steps as plain pip lines.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PORT ?= 7071

.PHONY: run test check bench soak clean

run: $(VENV)/run
	$(BIN)/python -m emulators.first_run --port $(PORT)

test: $(VENV)/dev
	$(BIN)/python -m pytest -n auto

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

soak: $(VENV)/dev
	$(BIN)/python -m benchmarks.soak

$(VENV)/run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .gateway .pytest_cache .mypy_cache .ruff_cache
