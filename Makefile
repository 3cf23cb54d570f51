# Everything lives in .venv; a stamp for each set of packages keeps a second run from working twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

# Each file's tests in one of several processes, the long files first (tests/conftest.py).
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow test-app test-all check clean

demo: $(VENV)/app.stamp
	$(BIN)/realtime video samples/astronaut.mp4 --out demo.mp4
	@echo "wrote demo.mp4"

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not alone"

# Those that measure time, with nothing beside them; then the slow ones of training, of export and of the documents.
test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not alone" --ignore tests/realtime

# The slow tests of the app, and its entry points, in an environment of its own, where torch is not installed.
test-app: .venv-app/test.stamp
	.venv-app/bin/python -m pytest tests/realtime/test_entry_points.py
	.venv-app/bin/python -m pytest $(PARALLEL) -m "slow and not alone" tests/realtime

# Every test: once, but for the entry points of the app, which are tested with torch and without.
test-all: test test-slow test-app

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/app.stamp: $(REQUIREMENTS)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev.stamp: $(REQUIREMENTS)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev,cluster]'
	touch $(VENV)/app.stamp $@

.venv-app/test.stamp: $(REQUIREMENTS)
	test -x .venv-app/bin/pip || $(PYTHON) -m venv .venv-app
	.venv-app/bin/pip install --quiet --constraint constraints.txt --editable '.[test,cluster]'
	touch $@

clean:
	rm -rf $(VENV) .venv-app demo.mp4
