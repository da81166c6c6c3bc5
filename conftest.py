"""Settings for every test: the sample as data, no bars, patience for slow cells."""

import os
from pathlib import Path

import pytest

OUTPUT_TIMEOUT_SECONDS = 600

# Beside another worker, a second thread costs more than it brings. Set before torch is loaded.
if os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["OMP_NUM_THREADS"] = "1"
# The tests run on the sample unless told otherwise, and a notebook's kernel works in the
# notebook's folder: so a relative data folder must become an absolute one.
os.environ.setdefault("MNIST_SOURCE", "sample")
os.environ["TQDM_DISABLE"] = "1"
if os.environ.get("MNIST_DATA_DIR"):
    os.environ["MNIST_DATA_DIR"] = str(Path(os.environ["MNIST_DATA_DIR"]).absolute())


def pytest_itemcollected(item: pytest.Item) -> None:
    """nbval waits 5 s for each output, whatever the time-out of the cell: wait as long."""
    if hasattr(item, "output_timeout"):
        item.output_timeout = OUTPUT_TIMEOUT_SECONDS
    if hasattr(item.parent, "skip_compare"):
        item.parent.skip_compare = (*item.parent.skip_compare, "stderr")
    if "solutions" in item.path.relative_to(item.config.rootpath).parts:
        item.add_marker("slow")
