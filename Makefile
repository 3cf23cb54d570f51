# Everything lives in .venv; a stamp for each set of packages keeps a second run from working twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

# Each file's tests in one of several processes, the long files first (tests/conftest.py).
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all check test-app clean

demo: $(VENV)/app.stamp
	$(BIN)/realtime video samples/astronaut.mp4 --out demo.mp4
	@echo "wrote demo.mp4"

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not alone"

# The slow tests too, and those that measure time: first, with nothing beside them.
test-all: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest $(PARALLEL) -m "not alone"

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The app's tests in an environment of its own, where torch is not installed; test-all runs the slow ones.
test-app: .venv-app/test.stamp
	.venv-app/bin/python -m pytest $(PARALLEL) -m "not slow and not alone" tests/realtime

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
