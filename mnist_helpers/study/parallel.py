"""Many trainings side by side, one thread each: on this machine's cores, or on a Dask cluster.

A small network can't keep several threads busy. And on one thread, a training gives the same result
whatever else runs.
"""

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from threading import Lock
from typing import Any

import joblib
import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.device import RecipeError, resolve_device

Work = Callable[..., Any]  # a task and digits in, a result out
Results = Generator[tuple[Any, Any], None, None]  # a task and its result
LOSSES = 3  # when workers were lost so often in a row, and nothing was finished, it is given up
_ALONE = Lock()  # a Dask worker may have several threads, but torch has one random state a process


def side_by_side(
    work: Work,
    tasks: Iterable[Any],
    digits: Sequence[DigitSet],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    device: str | torch.device = "auto",
) -> Results:
    """Yield each task with `work(task, *digits)`, as soon as one is done, in any order.

    What was lost with a worker that died is done again.

    Args:
        work: what to do; workers must be able to import or unpickle it.
        tasks: small values, each different.
        digits: sent once, not with each task.
        jobs: processes of this machine; None: one a core, or a single one if `device` is no CPU.
        scheduler: the address of a Dask scheduler, such as `tcp://10.0.0.5:8786`: its workers do
            it instead. They need this package; `dask worker ADDRESS --nthreads 1` starts one.
        device: what `work` uses.

    Raises:
        RecipeError: `jobs` is under 1, or stands beside a scheduler.
        ConnectionError: no scheduler answers, it has no worker, or workers die again and again.
        Exception: what `work` raises; what runs beside it is lost.
    """
    if jobs is not None and (jobs < 1 or scheduler is not None):
        raise RecipeError(f"jobs is {jobs}: name at least 1, and none beside a scheduler")
    left = list(tasks)
    if jobs is None and scheduler is None:
        jobs = joblib.cpu_count() if resolve_device(device).type == "cpu" else 1
    return _until_none_is_left(work, left, digits, min(jobs or 1, len(left)), scheduler)


def _until_none_is_left(
    work: Work, left: list[Any], digits: Sequence[DigitSet], jobs: int, scheduler: str | None
) -> Results:
    losses = 0
    while left:
        if scheduler is None:
            results = _on_cores(work, [*left], digits, jobs)
        else:
            results = _on_cluster(work, [*left], digits, scheduler)
        try:
            for task, result in results:
                left.remove(task)
                losses = 0
                yield task, result
        except (BrokenExecutor, CancelledError) as error:
            losses += 1
            if losses == LOSSES:
                told = f"workers were lost again and again ({' '.join(str(error).split())})"
                raise ConnectionError(f"{told}: have fewer, if memory is short") from error
        finally:
            results.close()


def _on_cores(work: Work, tasks: Sequence[Any], digits: Sequence[DigitSet], jobs: int) -> Results:
    if jobs == 1:
        yield from ((task, _alone(work, task, digits)) for task in tasks)
        return
    # As arrays: joblib writes large ones to a file that all processes share.
    arrays = [(one.images.numpy(), one.labels.numpy(), one.name) for one in digits]
    calls = (joblib.delayed(_with_arrays)(work, task, arrays) for task in tasks)
    results = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)(calls)
    try:
        yield from results
    finally:
        with warnings.catch_warnings(action="ignore"):  # that results are lost, which is meant
            results.close()
        joblib.externals.loky.get_reusable_executor().shutdown(kill_workers=True)


def _with_arrays(work: Work, task: Any, arrays: Sequence[Any]) -> tuple[Any, Any]:
    sets = [DigitSet(torch.tensor(images), torch.tensor(labels), n) for images, labels, n in arrays]
    return task, _alone(work, task, sets)


def _alone(work: Work, task: Any, digits: Sequence[DigitSet]) -> Any:
    """The result of the only training of this process, on one thread."""
    with _ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return work(task, *digits)
        finally:
            torch.set_num_threads(before)


def _on_cluster(
    work: Work, tasks: Sequence[Any], digits: Sequence[DigitSet], scheduler: str
) -> Results:
    with _client(scheduler) as client:
        from distributed import KilledWorker, as_completed

        [data] = client.scatter([list(digits)], broadcast=True, hash=False)
        waiting = {client.submit(_alone, work, task, data, pure=False): task for task in tasks}
        try:
            for future in as_completed(list(waiting), loop=client.loop):
                yield waiting.pop(future), future.result()
        except KilledWorker as error:
            raise BrokenExecutor(str(error)) from error


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    """A connection to the scheduler of a cluster that has a worker."""
    mend = "a scheduler needs Dask: pip install 'mnist-helpers[cluster]'"
    try:
        from distributed import Client

        mend = f"no Dask scheduler at {scheduler}: `dask scheduler` starts one, and prints where"
        with Client(scheduler, timeout=3, set_as_default=False) as client:
            mend = f"{scheduler} has no worker: `dask worker {scheduler} --nthreads 1` starts one"
            client.wait_for_workers(1, timeout=5)
            mend = ""
            yield client
    except (ImportError, OSError, ValueError) as error:
        if not mend:  # it comes from what was done with the client
            raise
        raise ConnectionError(mend) from error
