"""Many runs at once: on two cores, on a Dask cluster, on 64 workers that only sleep.

    python benchmarks/jobs.py [PART ...] [--rounds 3]

The parts: `jobs` (a study of four seeds, one run after the other on all threads, as it was before;
`--jobs 1`; `--jobs 2`; two Dask workers of one thread), `latency` (naps of two seconds on 16, 32
and 64 Dask workers on this machine, which stand for machines of their own), `memory` (prints what
the process that writes holds after 100 and after 1,000 rows). Rows go to
mnist_helpers/results/speed.csv, tables `jobs` and `latency`.
"""

import argparse
import multiprocessing.forkserver
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dask
import mnist_helpers as mh
import tables
from distributed import LocalCluster
from mnist_helpers.study.run import COLUMNS
from scaling import memory

MODELS = {"lenet": 20_000, "two_conv": 20_000, "three_conv": 10_000}
SEEDS, NAP = range(4), 2.0
CLUSTER: dict[str, Any] = {
    "threads_per_worker": 1,
    "dashboard_address": None,
    "memory_limit": 0,
    "silence_logs": "CRITICAL",
}
# Each worker looks at itself all the time: about 5 % of a core, so 64 of them fill two cores.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}


def entry(name: str) -> mh.ZooEntry:
    """A shorter training of the model, for two epochs."""
    recipe = replace(mh.ZOO[name].recipe, epochs=2, epoch_size=MODELS[name])
    return replace(mh.ZOO[name], recipe=recipe)


def as_before(entries: dict[str, mh.ZooEntry], digits: mh.Mnist, out: Path) -> float:
    """Seconds of one run after the other, with all threads."""
    start = time.perf_counter()
    parts = digits.train.split(1 / 12, seed=0)
    for name, one in entries.items():
        for seed in SEEDS:
            row = mh.study.measure(one, seed, *parts, digits.test, "cpu")
            row = {"model": name, "seed": seed, "source": digits.source, **row}
            mh.results.add_rows(out, [row], COLUMNS)
    return time.perf_counter() - start


def on_a_cluster(entries: dict[str, mh.ZooEntry], digits: mh.Mnist, out: Path) -> float:
    """The study on two Dask workers, which are there before the clock starts."""
    with LocalCluster(n_workers=2, preload=["mnist_helpers"], **CLUSTER) as cluster:
        return study(entries, digits, out, scheduler=cluster.scheduler_address)


def study(entries: dict[str, mh.ZooEntry], digits: mh.Mnist, out: Path, **places: Any) -> float:
    """Seconds of a study."""
    start = time.perf_counter()
    mh.study.run_study(entries, SEEDS, digits, out, device="cpu", verbose=False, **places)
    return time.perf_counter() - start


# How a study is run, and how many trainings at once.
WAYS: dict[str, tuple[Callable[..., float], int]] = {
    "all threads": (as_before, 1),
    "`--jobs 1`": (partial(study, jobs=1), 1),
    "`--jobs 2`": (partial(study, jobs=2), 2),
    "Dask, two workers": (on_a_cluster, 2),
}


def measure_jobs(rounds: int) -> None:
    """The ways take turns, each first in its round; the rows of the last three must be the same."""
    digits, rows = mh.load_mnist(source="mnist"), []
    dask.config.set(QUIET)
    for number in range(rounds):
        for name in MODELS:
            figures = {}
            order = [*WAYS][number % len(WAYS) :] + [*WAYS][: number % len(WAYS)]
            for way in order:
                run, at_once = WAYS[way]
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "study.csv"
                    seconds = run({name: entry(name)}, digits, out)
                    frame = mh.study.read_study(out).sort_values("seed", ignore_index=True)
                row = {"name": f"{name}: {way}", "seed": number, "seconds": seconds}
                rows.append({**row, "rate": at_once / float(frame["train_seconds"].mean())})
                print(rows[-1], flush=True)
                figures[way] = frame.drop(columns=["train_seconds", "epoch_seconds"])
            one, *others = [figures[way] for way in WAYS][1:]
            assert all(other.equals(one) for other in others)
    tables.measured("jobs", sorted(rows, key=lambda row: [*WAYS].index(row["name"].split(": ")[1])))
    print(tables.jobs())


def nap(task: int, digits: mh.DigitSet) -> int:
    """Sleep, as a machine of its own would work."""
    time.sleep(NAP)
    return len(digits)


def measure_latency() -> None:
    """Naps a second, of 25 for each worker, on workers that have PyTorch, and share it."""
    digits, rows = mh.load_mnist(source="sample").test, []
    multiprocessing.forkserver.set_forkserver_preload(["mnist_helpers"])
    multiprocessing.forkserver.ensure_running()
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver", **QUIET})
    for workers in (16, 32, 64):
        with LocalCluster(n_workers=workers, **CLUSTER) as cluster:
            time.sleep(10)  # until all have settled
            start, naps = time.perf_counter(), range(25 * workers)
            address = cluster.scheduler_address
            done = len(list(mh.study.side_by_side(nap, naps, [digits], scheduler=address)))
            rate = done / (time.perf_counter() - start)
        rows.append({"name": str(workers), "seed": 0, "rate": rate})
        print(rows[-1], flush=True)
    tables.measured("latency", rows)
    print(tables.latency())


def measure_memory() -> None:
    """Rows that are written one by one, each a copy of a published one."""
    row: dict[str, Any] = mh.study.read_study().iloc[0].to_dict()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for seed in range(1_000):
            mh.results.add_rows(Path(folder) / "study.csv", [{**row, "seed": seed}], COLUMNS)
            if seed + 1 in (1, 100, 500, 1_000):
                seconds = time.perf_counter() - start
                held, peak = (memory(name) / 2**20 for name in ("VmRSS", "VmHWM"))
                print(f"{seed + 1} rows: {held:.0f} MiB, peak {peak:.0f} MiB, {seconds:.1f} s")


@tables.one_line_errors()
def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts: dict[str, Callable[[], None]] = {
        "jobs": lambda: measure_jobs(options.rounds),
        "latency": measure_latency,
        "memory": measure_memory,
    }
    parser.add_argument(
        "parts", nargs="*", type=tables.one_of(parts), metavar="PART", default=list(parts)
    )
    parser.add_argument("--rounds", type=tables.positive, default=3)
    options = parser.parse_args()
    for part in options.parts:
        parts[part]()


if __name__ == "__main__":
    main()
