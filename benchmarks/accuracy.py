"""Test accuracy of the zoo's recipes over several seeds, on full MNIST.

Each model is trained on 55,000 digits, its weights chosen on 5,000, and tested once.

    python benchmarks/accuracy.py [MODEL ...] [--seeds 5]
"""

import argparse
import dataclasses
import statistics

import mnist_helpers as mh


def main() -> None:
    """Train every model with every seed; print mean, spread, n."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(mh.ZOO), metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist")
    train, validation = digits.train.split(1 / 12, seed=0)
    for name in options.models:
        entry, reports = mh.ZOO[name], []
        for seed in range(options.seeds):
            model = entry.build(seed=seed)
            recipe = dataclasses.replace(entry.recipe, seed=seed)
            history = mh.fit(model, train, validation, recipe, verbose=False)
            reports.append(mh.evaluate(model, digits.test))
            accuracy, low_high = reports[-1].accuracy, reports[-1].accuracy_interval
            print(f"{name} seed {seed}: {accuracy:.4f} {low_high}, {history.seconds:.0f} s")
        print(f"{name}: {entry.recipe.summary()}, {history.device}, {history.precision}")
        for what in ("accuracy", "f1_macro", "f1_weighted"):
            values = [getattr(report, what) for report in reports]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            print(
                f"  {what:<11} mean {statistics.mean(values):.4f}, sd {spread:.4f}, n {len(values)}"
            )


if __name__ == "__main__":
    main()
