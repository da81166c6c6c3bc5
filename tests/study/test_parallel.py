"""parallel.py: the same rows however many run at once, wherever, and whoever dies."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mnist_helpers as mh
import pandas as pd
import pytest
import torch

SECONDS = ["train_seconds", "epoch_seconds"]


def doubled(task, digits):
    return 2 * task + len(digits), torch.get_num_threads()


def test_each_task_is_done_once_on_one_thread_and_threads_come_back(make_digits):
    before, digits = torch.get_num_threads(), make_digits(30, 1)
    done = list(mh.study.side_by_side(doubled, range(5), [digits], jobs=1))
    assert done == [(task, (2 * task + 30, 1)) for task in range(5)]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_and_no_jobs_are_refused(make_digits):
    pytest.importorskip("distributed")
    for options, kind, told in (
        ({"scheduler": "tcp://127.0.0.1:1"}, ConnectionError, "no Dask scheduler at tcp://"),
        ({"scheduler": "nonsense://x"}, ConnectionError, "no Dask scheduler at nonsense"),
        ({"jobs": 0}, mh.RecipeError, "jobs is 0"),
        ({"jobs": 2, "scheduler": "tcp://x:1"}, mh.RecipeError, "none beside a scheduler"),
    ):
        with pytest.raises(kind, match=told) as caught:
            list(mh.study.side_by_side(doubled, [1], [make_digits(3, 1)], **options))
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_it_with_a_reason(make_digits):
    """Also when the deadly task is the last one left: it never runs in this process."""

    def die(task, digits):
        if task == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ConnectionError, match="again and again"):
        list(mh.study.side_by_side(die, range(3), [make_digits(3, 1)], jobs=2))


def test_a_study_that_is_refused_leaves_no_file(tmp_path):
    digits, out = mh.load_mnist(source="sample"), tmp_path / "study.csv"
    for options, told in (({"jobs": 0}, "jobs is 0"), ({"jobs": 2, "device": "tpu"}, "tpu")):
        with pytest.raises(mh.RecipeError, match=told):
            mh.study.run_study(entries(), range(4), digits, out, **options)
        assert not out.exists()


@pytest.mark.slow
def test_what_a_killed_process_was_at_is_done_again(make_digits, tmp_path):
    def once(task, digits):
        mark = tmp_path / "killed"
        if task == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task + len(digits)

    done = list(mh.study.side_by_side(once, range(6), [make_digits(30, 1)], jobs=2))
    assert sorted(done) == [(task, task + 30) for task in range(6)]
    assert (tmp_path / "killed").exists()


# A study on one core, two cores and a cluster


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The rows of a study of four short runs, one after the other."""
    out = tmp_path_factory.mktemp("straight") / "study.csv"
    run_here(out, jobs=1)
    return rows(out)


def entries():
    entry = mh.ZOO["lenet"]
    recipe = dataclasses.replace(entry.recipe, epochs=2, epoch_size=2_000)
    return {"lenet": dataclasses.replace(entry, recipe=recipe)}


def run_here(out, **options):
    digits = mh.load_mnist(source="sample")
    return mh.study.run_study(entries(), range(4), digits, out, device="cpu", **options)


def rows(path):
    frame = mh.study.read_study(path).drop(columns=SECONDS)
    return frame.sort_values("seed", ignore_index=True)


@pytest.fixture
def start(tmp_path):
    """Starts a process in a session of its own, which ends with the test, however that ends."""
    started = []

    def begin(*words):
        log = tmp_path / f"process-{len(started)}.log"
        with log.open("w") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, *map(str, words)],
                    **{"stdout": out, "stderr": subprocess.STDOUT, "start_new_session": True},
                )
            )
        return started[-1], log

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def cluster(start, tmp_path):
    """The address of a scheduler on loopback, and its two workers."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    options = ("--host", "127.0.0.1", "--no-dashboard")
    start("-m", "distributed.cli.dask_scheduler", *options, "--port", 0, "--scheduler-file", file)
    wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
    address = json.loads(file.read_text())["address"]
    one = ("--nthreads", 1, "--no-nanny", "--local-directory", tmp_path)
    command = ("-m", "distributed.cli.dask_worker", address, "--no-dashboard", *one)
    workers = [start(*command) for _ in range(2)]
    for _, log in workers:
        wait_for(lambda log=log: "Registered to" in log.read_text())
    return address, [process for process, _ in workers]


@pytest.mark.slow
def test_rows_are_the_same_on_two_cores(straight, tmp_path):
    run_here(tmp_path / "two.csv", jobs=2)
    pd.testing.assert_frame_equal(rows(tmp_path / "two.csv"), straight, check_exact=True)


@pytest.mark.slow
def test_rows_are_the_same_on_a_cluster_and_a_killed_worker_loses_nothing(
    straight, cluster, tmp_path
):
    address, workers = cluster
    out = tmp_path / "cluster.csv"
    digits, killed = mh.load_mnist(source="sample"), []

    run = sys.modules["mnist_helpers.study.run"]
    add = run.add_rows

    def add_and_kill(path, new, columns):
        add(path, new, columns)
        if new and not killed:
            killed.append(workers[0].pid)
            workers[0].send_signal(signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "add_rows", add_and_kill)
        mh.study.run_study(entries(), range(4), digits, out, device="cpu", scheduler=address)
    assert killed
    assert workers[0].wait(timeout=10) == -signal.SIGKILL
    assert workers[1].poll() is None
    pd.testing.assert_frame_equal(rows(out), straight, check_exact=True)


def processes(session):
    """The processes of a session that still run (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mnist_helpers.__main__ import app
app(sys.argv[1:], prog_name="mnist-helpers")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize(
    ("stop", "number"),
    [(os.kill, signal.SIGINT), (os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)],
)
def test_ctrl_c_leaves_the_finished_rows_and_no_process(start, tmp_path, stop, number):
    """To the command alone, as `kill` sends it; to all its processes, as a terminal does."""
    out = tmp_path / "study.csv"
    words = ("study", "lenet", "--seeds", 6, "--jobs", 2, "--source", "sample", "--out", out)
    process, log = start("-c", CHILD, *words)
    wait_for(lambda: out.exists() and len(mh.study.read_study(out)) >= 1)
    assert len(processes(process.pid)) > 2
    stop(process.pid, number)
    assert process.wait(timeout=60) == 130
    wait_for(lambda: not processes(process.pid), seconds=20)
    assert 1 <= len(mh.study.read_study(out)) < 6
    assert "runs are missing; the same command goes on" in log.read_text()
    assert "Traceback" not in log.read_text()
