# Each target works on a fresh clone: it makes .venv, installs into it, and goes.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test lab notebooks lint links

run: $(INSTALLED)  ## execute the notebooks into build/, print a summary
	$(BIN)/python -m mnist_helpers notebooks --out build

test: $(INSTALLED)  ## unit tests and every notebook, on the sample
	$(BIN)/python -m pytest

lab: $(INSTALLED)  ## open JupyterLab
	MNIST_DATA_DIR="$${MNIST_DATA_DIR:+$$(realpath "$$MNIST_DATA_DIR")}" $(BIN)/jupyter lab notebooks

notebooks: $(INSTALLED)  ## re-execute the committed notebooks on full MNIST
	MNIST_SOURCE=mnist $(BIN)/python -m mnist_helpers notebooks --out build/committed
	mkdir -p build/committed/solutions && cp -r build/committed/runs build/committed/solutions/
	MNIST_SOURCE=mnist $(BIN)/python -m mnist_helpers notebooks --out build/committed/solutions --folder notebooks/solutions
	cp build/committed/*.ipynb notebooks/
	cp build/committed/solutions/*.ipynb notebooks/solutions/
	mkdir -p images && cp build/committed/figures/04_evaluation-2.png images/mistakes.png

lint: $(INSTALLED)  ## ruff for code and notebooks, mypy for types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

links: $(INSTALLED)  ## write the repository's address into badges, links and the Colab cell
	$(BIN)/python tests/links.py

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, for example: make run PYTHON=python3.12")'
	@echo "Installing PyTorch and the rest into .venv: some gigabytes, some minutes"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
