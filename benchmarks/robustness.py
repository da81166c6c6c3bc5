"""What breaks a model and what helps: the tables of notebook 08, into mnist_helpers/robustness.csv.

    python benchmarks/robustness.py [PART ...]

The parts: `corruptions` (test errors of `two_conv`, of `robust`, and of `robust` without its
augmentation, under the fifteen corruptions) and `attacks` (test accuracy of `two_conv`, trained
plainly and on attacked digits, under FGSM and PGD); without one, both. Rows that the file has are
not measured again, so a command that was stopped goes on.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import mnist_helpers as mh
from mnist_helpers.storage import write_whole

EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
# Small, so that it takes minutes: 20,000 digits, attacked by PGD with few steps.
HARDENED = mh.Recipe(epochs=4, batch_size=100, schedule="one_cycle", learning_rate=3e-3)
HARDENED_DIGITS, HARDENED_EPSILON, HARDENED_STEPS = 20_000, 0.2, 5


ROBUST = mh.ZOO["robust"]
MODELS = {
    "two_conv": mh.ZOO["two_conv"],
    "not augmented": replace(ROBUST, recipe=replace(ROBUST.recipe, augmentation="none")),
    "robust": ROBUST,
}


def corruption_rows(name: str, seed: int, digits: mh.Mnist) -> Iterator[dict[str, Any]]:
    """Train the model with that seed; its errors on clean and corrupted test digits."""
    entry = MODELS[name]
    train, validation = digits.train.split(1 / 12, seed=0)
    model = entry.build(seed=seed)
    history = mh.fit(model, train, validation, replace(entry.recipe, seed=seed), verbose=False)
    accuracy = mh.loss_and_accuracy(model, digits.test)[1]
    total = len(digits.test)
    wrong = {"clean": round(total * (1 - accuracy))}
    table = mh.corruption_errors(model, digits.test)
    wrong.update(zip(table["corruption"], table["errors"], strict=True))
    for corruption, errors in wrong.items():
        yield {
            "corruption": corruption,
            "errors": errors,
            "total": total,
            "train_seconds": round(history.seconds, 1),
        }


def attack_rows(name: str, seed: int, digits: mh.Mnist) -> Iterator[dict[str, Any]]:
    """Train `two_conv`, plainly or on attacks; how many of 1,000 test digits survive attacks."""
    train, _ = digits.train.split(1 / 12, seed=0)
    _, part = train.split(HARDENED_DIGITS, seed=seed)
    model = mh.ZOO["two_conv"].build(seed=seed)
    recipe = replace(HARDENED, seed=seed, keep="last")
    if name == "trained on attacks":
        mh.fit_adversarial(model, part, recipe, HARDENED_EPSILON, HARDENED_STEPS)
    else:
        mh.fit(model, part, part, recipe, device="cpu", verbose=False)
    _, test = digits.test.split(1_000, seed=0)
    for epsilon in EPSILONS:
        for attack in (mh.fgsm, mh.pgd):
            torch.manual_seed(seed)
            changed = attack(model, test.images, test.labels, epsilon)
            right = (mh.predict_logits(model, changed).argmax(dim=1) == test.labels).sum()
            yield {
                "attack": attack.__name__,
                "epsilon": epsilon,
                "errors": len(test) - int(right),
                "total": len(test),
            }


def summary(frame: pd.DataFrame) -> str:
    """The errors as the README quotes them."""
    rows = frame[frame["part"] == "corruptions"]
    lines = []
    for name, runs in rows.groupby("model", sort=False):
        shares = (100 * runs["errors"] / runs["total"]).groupby([runs["seed"], runs["corruption"]])
        table = shares.mean().unstack()
        clean = table.pop("clean")
        worst = table.mean().idxmax()
        lines.append(
            f"{name}: mean of the fifteen {table.mean(axis=1).mean():.1f} % ± "
            f"{table.mean(axis=1).std():.1f}, clean {clean.mean():.2f} % ± {clean.std():.2f}, "
            f"worst {worst} {table[worst].mean():.1f} %, n {len(table)}"
        )
    return "\n".join(lines)


PARTS = {
    "corruptions": (corruption_rows, tuple(MODELS), 3),
    "attacks": (attack_rows, ("plain", "trained on attacks"), 3),
}


def main() -> None:
    """Measure what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--out", type=Path, default=mh.ROBUSTNESS_CSV)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}: choose of {', '.join(PARTS)}")
    digits = mh.load_mnist(source="mnist")
    frame = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame()
    done = (
        set(zip(*(frame[c] for c in ("part", "model", "seed")), strict=True)) if len(frame) else {}
    )
    where = {"machine": mh.machine_name(mh.resolve_device("auto")), **mh.versions()}
    for part in options.parts:
        rows_of, names, seeds = PARTS[part]
        for seed in range(seeds):
            for name in names:
                if (part, name, seed) in done:
                    continue
                run = {"part": part, "model": name, "seed": seed}
                new = pd.DataFrame([{**run, **row, **where} for row in rows_of(name, seed, digits)])
                frame = pd.concat([frame, new])
                text = frame.to_csv(index=False, lineterminator="\n")
                write_whole(options.out, text.encode())
                print(f"{part}: {name}, seed {seed}: {new['errors'].sum()} errors", flush=True)
    print(summary(frame))


if __name__ == "__main__":
    main()
