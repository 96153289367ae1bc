# Everything a newcomer needs is `make demo` and `make test`; both set up .venv on their first run.
PYTHON ?= python3
BIN := .venv/bin
# torch's own index would be asked for builds with CUDA otherwise; the constraint names the build that CI uses
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow ray-test browser-test lint samples bench fault-guard docs clean

demo: .venv/installed
	$(BIN)/energydiag demo || test $$? -eq 1

test: .venv/installed-dev lint
	$(BIN)/pytest

# what takes minutes: many real processes, trainings, corpora
test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow

# the test on a cluster of two nodes alone; `make test-slow` runs it too
ray-test: .venv/installed-dev
	$(BIN)/pytest -n 0 -m slow tests/test_ray.py

# needs a Chromium on the path, or CHROMIUM=PATH; `make test` skips these tests where there is none
browser-test: .venv/installed-dev
	BROWSER_TEST=1 $(BIN)/pytest -n 0 tests/test_browser.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

samples: .venv/installed-samples
	$(BIN)/python sample_checkpoints/make_samples.py

fault-guard: .venv/installed
	$(BIN)/python -m benchmarks.faults.run guard

bench: .venv/installed
	$(BIN)/python -m benchmarks.run

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP_INSTALL) --editable '.[dev]'
	touch $@

.venv/installed-samples: .venv/installed
	$(PIP_INSTALL) --editable '.[samples]'
	touch $@

docs: .venv/installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
