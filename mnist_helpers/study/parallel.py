"""Many trainings side by side, one thread each: on this machine's cores, or on a Dask cluster.

Small networks can't keep several threads busy; on one, a result does not depend on what else runs.
"""

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

import joblib
import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.device import RecipeError, resolve_device

Work = Callable[..., Any]  # a task and digits in, a result out
Digits = Sequence[DigitSet]
Results = Generator[tuple[Any, Any], None, None]  # a task and its result
LOSSES = 3  # when workers were lost so often in a row, and nothing was finished, it is given up
_ALONE = Lock()  # a Dask worker may have several threads, but torch has one random state a process


def side_by_side(
    work: Work,
    tasks: Iterable[Any],
    digits: Digits,
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
        RecipeError: `jobs` is under 1, or stands beside a scheduler; there is no such device.
        ConnectionError: no scheduler answers, it has no worker, or workers die again and again.
        Exception: what `work` raises; what runs beside it is lost.
    """
    if jobs is not None and (jobs < 1 or scheduler is not None):
        raise RecipeError(f"jobs is {jobs}: name at least 1, and none beside a scheduler")
    left = list(tasks)
    if scheduler is not None:
        start = partial(_on_cluster, scheduler=scheduler)
    else:
        usual = joblib.cpu_count() if resolve_device(device).type == "cpu" else 1
        start = partial(_on_cores, jobs=min(jobs or usual, len(left)))
    return _until_all_are_done(start, work, left, digits)


def _until_all_are_done(start: Work, work: Work, left: list[Any], digits: Digits) -> Results:
    losses = 0
    while left:
        results = start(work, [*left], digits)
        try:
            for task, result in results:
                left.remove(task)
                losses = 0
                yield task, result
        except (BrokenExecutor, CancelledError) as error:
            losses += 1
            if losses == LOSSES:
                told = f"workers die again and again ({' '.join(str(error).split())}): have fewer"
                raise ConnectionError(f"{told}, if memory is short") from error
        finally:
            results.close()


def _on_cores(work: Work, tasks: Sequence[Any], digits: Digits, jobs: int) -> Results:
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


def _alone(work: Work, task: Any, digits: Digits) -> Any:
    """The result of the only training of this process, on one thread."""
    with _ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return work(task, *digits)
        finally:
            torch.set_num_threads(before)


def _on_cluster(work: Work, tasks: Sequence[Any], digits: Digits, scheduler: str) -> Results:
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
