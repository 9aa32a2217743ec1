# Every target does its own set-up. PYTHON chooses the interpreter that makes the environment.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup test test-device demo lint docs bench bench-full study audit-corpus compat zoo package clean

help: ## print this list
	@sed -nE 's/^([a-z -]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

setup: .venv/.ready ## make the environment .venv; every other target does it by itself

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Two processes of one thread each: the models are small, and threads that wait for each other are most of their time.
test: setup ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# On the first accelerator that torch finds (CUDA, ROCm, Metal, XPU); says why where there is none.
test-device: setup ## run the table of cases on an accelerator
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/devices -m "not study" -rs

demo: setup ## train five networks and write demo/report.html
	$(BIN)/inputgrad train examples/demo/*.yaml --out demo

lint: setup ## check the style and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.docs ## build the pages into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# With the package that one of the tutorials is about.
.venv/.docs: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,transformers]'
	touch $@

# Tables of time, gradient error and memory; the page's table and plots come from the figures that are written. bench-full takes about an hour.
bench bench-full: .venv/.bench ## time every engine; bench-full takes about an hour and rewrites docs/benchmarks.md
	$(BIN)/python -m benchmarks.run $(if $(filter bench,$@),--quick)
	$(BIN)/python -m benchmarks.small_steps
	$(BIN)/python -m benchmarks.higher_orders
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.plots

.venv/.bench: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

.venv/.examples: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,examples]'
	touch $@

study: .venv/.examples ## run the slow studies on real data
	$(BIN)/python -m pytest -m study
	CATALOGUE_BACKEND=aot_eager COMPILED_BACKEND=aot_eager $(BIN)/python -m pytest tests/catalogue -k compiled
	COMPILED_BACKEND=aot_eager $(BIN)/python -m pytest tests/joint tests/scale tests/survey tests/devices -k "compile or program"
	COMPILED_BACKEND=inductor $(BIN)/python -m pytest tests/core -k compiled

# The audit's good and bad scripts: findings expected and found, false errors, false warnings, misses.
audit-corpus: setup ## run the audit on its corpus of good and bad scripts
	$(BIN)/python -m tests.audit.harness

# In an environment of its own under build/compat; needs no set-up. docs/versions.md shows what came of it.
compat: ## run the core's tests on another torch: make compat TORCH=2.15.0 [PYTHON=python3.12]
	$(PYTHON) -m tools.compat --torch $(TORCH)

# In an environment of its own under build/zoo. docs/operations.md shows what came of it.
zoo: ## try every engine on real architectures from public packages; takes hours: make zoo [EVERY=10] [RESUME=1]
	$(PYTHON) -m tools.zoo --every $(or $(EVERY),1) $(if $(RESUME),--resume)

package: ## build wheel and sdist, install each into an empty environment and try it there
	$(PYTHON) -m tools.package

clean: ## remove everything that these targets made
	rm -rf .venv build dist demo docs/_build docs/gallery docs/catalogue docs/audit_rules .pytest_cache .mypy_cache .ruff_cache
