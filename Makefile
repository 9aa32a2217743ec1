# Every target does its own set-up. PYTHON chooses the interpreter that makes the environment.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test demo lint docs bench bench-full study audit-corpus clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Two processes of one thread each: the models are small, and threads that wait for each other are most of their time.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

demo: setup
	$(BIN)/inputgrad train examples/demo/*.yaml --out demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Tables of time, gradient error and memory; the page's table and plots come from the figures that are written. bench-full takes about an hour.
bench bench-full: .venv/.bench
	$(BIN)/python -m benchmarks.run $(if $(filter bench,$@),--quick)
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.plots

.venv/.bench: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

.venv/.examples: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,examples]'
	touch $@

study: .venv/.examples
	$(BIN)/python -m pytest -m study

# The audit's good and bad scripts: findings expected and found, false errors, false warnings, misses.
audit-corpus: setup
	$(BIN)/python -m tests.audit.harness

clean:
	rm -rf .venv demo docs/_build .pytest_cache .mypy_cache .ruff_cache
