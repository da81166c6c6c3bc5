"""Out of Python: does ONNX give the same answers, how small is it, and how fast?

Each model of the zoo is trained with its recipe, seed 0, and written as ONNX, as it is and in 8
bits. Measured on the 10,000 test digits: other answers than torch's, the largest difference of two
logits, mistakes, McNemar's test of the 8 bits against the float32, and the milliseconds of a digit,
one at a time and 500 at once. The three programs take turns; only the ratios of one turn are
compared, and the row has their median. Nothing is chosen here. Rows go to
mnist_helpers/results/deployment.csv.

    python benchmarks/deployment.py [MODEL ...] [--runs build/deployment] [--rounds 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers.deployment import onnx_logits, onnx_model, onnx_session, web_page
from tables import one_line_errors, one_of, positive, rounded, where
from torch import Tensor

SIZES = {"one": (1, 100), "many": (500, 2)}  # images at once, and how many times a turn


def milliseconds(work: Callable[[Tensor], Any], images: Tensor, repeats: int) -> float:
    """Of one digit."""
    start = time.perf_counter()
    for _ in range(repeats):
        work(images)
    return 1000 * (time.perf_counter() - start) / repeats / len(images)


def runner(content: bytes) -> Callable[[Tensor], Any]:
    """Runs an ONNX file with as many threads as torch has."""
    session = onnx_session(content, threads=torch.get_num_threads())
    return lambda images: session.run(["logits"], {"images": images.numpy()})


def times(
    works: Sequence[Callable[[Tensor], Any]], images: Tensor, rounds: int
) -> dict[str, float]:
    """Torch's milliseconds for a digit, and how many times as fast the two others are."""
    row = {}
    for name, (count, repeats) in SIZES.items():
        turns = [
            [milliseconds(work, images[:count], repeats) for work in works]
            for _ in range(rounds + 1)
        ][1:]  # the first warms up
        row[f"torch_{name}"] = statistics.median(turn[0] for turn in turns)
        row[f"onnx_{name}"] = statistics.median(turn[0] / turn[1] for turn in turns)
        row[f"int8_{name}"] = statistics.median(turn[0] / turn[2] for turn in turns)
    return row


def measure(name: str, runs: Path, rounds: int) -> dict[str, Any]:
    """The row of a model."""
    digits = mh.load_mnist(source="mnist")
    folder = runs / name
    mh.load_or_train(name, digits, folder)
    model, run = mh.load_run(folder)
    contents = [onnx_model(model, {}, part) for part in (None, digits.train.images)]
    images, labels = digits.test.images, digits.test.labels
    logits = [mh.predict_logits(model, images), *(onnx_logits(one, images) for one in contents)]
    answers = [one.argmax(dim=1) for one in logits]
    mistakes = [(one != labels).nonzero()[:, 0].tolist() for one in answers]

    @torch.inference_mode()
    def by_torch(some: Tensor) -> Tensor:
        return model(some)

    with torch.no_grad():
        page = len(web_page(model, run.certainty).encode())
    return {
        **{"model": name, "seed": 0, **where()},
        **{"onnx_bytes": len(contents[0]), "int8_bytes": len(contents[1]), "page_bytes": page},
        "onnx_differs": (answers[1] != answers[0]).sum().item(),
        "largest_gap": (logits[1] - logits[0]).abs().max().item(),
        "int8_differs": (answers[2] != answers[0]).sum().item(),
        "wrong": len(mistakes[0]),
        "int8_wrong": len(mistakes[2]),
        "p_value": mh.mcnemar(mistakes[0], mistakes[2]).p_value,
        **times([by_torch, *map(runner, contents)], images, rounds),
    }


@one_line_errors()
def main() -> None:
    """A row a model, kept as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", type=one_of(mh.ZOO), help="default: all")
    parser.add_argument("--runs", type=Path, default=Path("build/deployment"))
    parser.add_argument("--rounds", type=positive, default=7)
    given = parser.parse_args()
    for name in given.models or mh.ZOO:
        row = rounded(measure(name, given.runs, given.rounds))
        mh.results.add_rows(mh.results.DEPLOYMENT, [row], replacing={"model": name})
        print(row, flush=True)


if __name__ == "__main__":
    main()
