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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """One worker for 03 to 05: they share a run, which 03 takes away before it trains anew."""
    from xdist.scheduler import LoadScopeScheduling  # here: not everybody has it

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return (
                "one run"
                if scope.startswith(("notebooks/03", "notebooks/04", "notebooks/05"))
                else scope
            )

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None
