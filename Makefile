# Each target works on a fresh clone: it makes .venv, installs into it, and goes.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# All cores, one thread each; a notebook stays on one worker, and notebooks come first.
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder

# For every kernel that is started here, as in mnist_helpers/__init__.py.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 2000
endif

.PHONY: run test check slow test-all lab notebooks tables lint links site

run: $(INSTALLED)  ## execute the notebooks into build/, print a summary
	$(BIN)/python -m mnist_helpers notebooks --out build

test: lint  ## unit tests and every notebook, on the sample
	$(BIN)/python -m pytest $(PARALLEL)

check: lint  ## lint and unit tests, before every commit
	$(BIN)/python -m pytest -n auto -p no:nbval -o addopts="" --import-mode=importlib -m "not slow" tests

slow: $(INSTALLED)  ## solutions, signals, memory, fuzz; a browser and full MNIST where they are
	$(BIN)/python -m pytest $(PARALLEL) -m slow

test-all: test slow  ## all tiers

lab: $(INSTALLED)  ## open JupyterLab
	MNIST_DATA_DIR="$${MNIST_DATA_DIR:+$$(realpath "$$MNIST_DATA_DIR")}" $(BIN)/jupyter lab notebooks

notebooks: $(INSTALLED)  ## re-execute the committed notebooks on full MNIST
	MNIST_SOURCE=mnist $(BIN)/python -m mnist_helpers notebooks --out build/committed
	mkdir -p build/committed/solutions && cp -r build/committed/runs build/committed/solutions/
	MNIST_SOURCE=mnist $(BIN)/python -m mnist_helpers notebooks --out build/committed/solutions --folder notebooks/solutions
	cp build/committed/*.ipynb notebooks/
	cp build/committed/solutions/*.ipynb notebooks/solutions/
	cp build/committed/figures/04_evaluation-5.png docs/mistakes.png

tables: $(INSTALLED)  ## write the tables of benchmarks/README.md from the rows in mnist_helpers/results
	$(BIN)/python benchmarks/tables.py

lint: $(INSTALLED)  ## ruff for code and notebooks, mypy for types, import-linter for the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

links: $(INSTALLED)  ## badges, links and the Colab cell: `make links REF=v0.2.0` pins a release
	$(BIN)/python tests/links.py $(REF)

site: .venv/site  ## the series as web pages, into build/site
	rm -rf build/site
	$(BIN)/python docs/pages.py build/site

.venv/site: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[site]'
	touch $@

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, for example: make run PYTHON=python3.12")'
	@echo "Installing PyTorch and the rest into .venv: some gigabytes, some minutes"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
