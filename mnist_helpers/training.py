"""fit(): the training loop, its history, and how it stops and goes on (03_training.ipynb)."""

import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_helpers.augmentation import augment
from mnist_helpers.checkpoints import CHECKPOINT, describe_run, load_state, model_name, save_state
from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import loss_and_accuracy
from mnist_helpers.history import EpochRecord, History
from mnist_helpers.memory import keep_freed_memory
from mnist_helpers.recipes import (
    Recipe,
    RecipeError,
    epoch_seed,
    learning_rate_at,
    make_optimizer,
    resolve_device,
    resolve_precision,
)
from mnist_helpers.storage import CheckpointError, damage_named, load_weights, read_tensors


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite; the message names epoch, step and the mend."""


def fit(
    model: nn.Module,
    train: DigitSet,
    validation: DigitSet,
    recipe: Recipe,
    *,
    device: str | torch.device = "auto",
    run_dir: str | Path | None = None,
    resume: bool = False,
    verbose: bool = True,
    log_every: int | None = None,
    after_epoch: Callable[[nn.Module], None] | None = None,
) -> History:
    """Train `model` in place; it ends in evaluation mode, with the weights that `recipe` keeps.

    On Linux the process keeps freed memory from now on; see `keep_freed_memory`.

    Ctrl-C, or the notebook's stop button, ends training and returns the history so far; the model
    has the best weights of the finished epochs (or, under `keep="last"`, those of that moment).

    Args:
        model: images `[N, 1, 28, 28]` in, logits `[N, 10]` out; moved to `device`.
        train: what it learns from. validation: what epochs are compared on.
        recipe: how to train.
        device: `auto`, `cpu`, `cuda` or `mps`.
        run_dir: where a checkpoint is kept after every epoch; None: nowhere.
        resume: go on from the checkpoint in `run_dir`, bit-exact on the CPU. The recipe must be
            the checkpoint's; only `epochs` may have grown, under a schedule that ignores it.
        verbose: print a line an epoch and the time, and show a bar in a terminal or notebook.
        log_every: print a line every so many batches, `verbose` or not: loss and accuracy of the
            epoch so far.
        after_epoch: called with the model, in training mode, after each epoch trained here and
            its checkpoint; for example to keep the weights.

    Raises:
        TrainingDiverged: the loss is NaN or infinite; the model gets its best weights so far back.
        CheckpointError: the checkpoint cannot be written, or not be resumed from.
        RecipeError: there is no such device, `log_every` is under 1, or a batch would hold one
            image where batch normalisation needs two.
    """
    if log_every is not None and log_every < 1:
        raise RecipeError(f"log_every is {log_every}: it must be at least 1")
    run = _Run(model, train, validation, recipe, resolve_device(device), verbose, log_every)
    path = Path(run_dir) / CHECKPOINT if run_dir is not None else None
    if resume:
        if path is None:
            raise CheckpointError("resume needs run_dir, the folder of the checkpoint")
        run.restore(path)
    elif path is not None:
        run.save(path)  # before the first epoch: a folder that cannot be written fails at once
    try:
        while not run.done:
            run.one_epoch()
            if path is not None:
                run.save(path)
            if after_epoch is not None:
                after_epoch(model)
    except KeyboardInterrupt:
        run.history.interrupted = True
        if path is not None and run.saved_epochs < len(run.history.epochs):
            run.save(path)  # Ctrl-C came between the end of an epoch and its checkpoint
    except TrainingDiverged:
        load_weights(model, run.best_weights)
        model.eval()
        raise
    if recipe.keep == "best":
        load_weights(model, run.best_weights)
    model.eval()
    if verbose:
        run.say_goodbye()
    return run.history


class _Run:
    """The state of one training run: what a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        train: DigitSet,
        validation: DigitSet,
        recipe: Recipe,
        device: torch.device,
        verbose: bool,
        log_every: int | None,
    ) -> None:
        if not len(train) or not len(validation):
            raise ValueError("train and validation must each hold at least one digit")
        keep_freed_memory()
        self.device, self.recipe = device, recipe
        self.verbose, self.log_every = verbose, log_every
        # Convolutions and pooling are faster when the channels of a pixel lie side by side.
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train, self.validation = train.to(device), validation.to(device)
        self.optimizer = make_optimizer(model, recipe)
        self.history = History(str(device), resolve_precision(recipe.precision, device))
        self.best_weights = _copy(model)
        self.epoch_size = min(recipe.epoch_size or len(train), len(train))
        self.steps_per_epoch = -(-self.epoch_size // recipe.batch_size)
        self.saved_epochs = 0
        check_last_batch(model, self.epoch_size, recipe.batch_size)

    @property
    def done(self) -> bool:
        """Whether the last epoch is reached, or patience has run out."""
        epochs, best = self.history.epochs, self.history.best
        patience = self.recipe.patience
        stale = len(epochs) - best.epoch if best else 0
        return len(epochs) >= self.recipe.epochs or (patience is not None and stale >= patience)

    def one_epoch(self) -> None:
        """Train for one epoch, validate, record; the caller's random state is left alone."""
        start, epoch = time.perf_counter(), len(self.history.epochs)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            loss, accuracy, step_losses = self._train_epoch(epoch)
        validation_loss, validation_accuracy = loss_and_accuracy(self.model, self.validation)
        self._check_finite(validation_loss, (epoch + 1) * self.steps_per_epoch - 1)
        record = EpochRecord(
            epoch + 1,
            loss,
            accuracy,
            validation_loss,
            validation_accuracy,
            self.optimizer.param_groups[0]["lr"],
            time.perf_counter() - start,
        )
        if self.history.best is None or record.merit > self.history.best.merit:
            self.best_weights = _copy(self.model)
        self.history.step_losses.extend(step_losses)
        self.history.epochs.append(record)  # last: from here on the epoch counts
        if self.verbose:
            print(record)

    def _train_epoch(self, epoch: int) -> tuple[float, float, list[float]]:
        """Loss and accuracy over the epoch's samples, and the loss of each step."""
        generator = seed_all(epoch_seed(self.recipe.seed, epoch), self.device)
        self.model.train()
        losses: list[float] = []
        total = 0.0
        correct = torch.zeros((), device=self.device, dtype=torch.int64)
        with _bar(self.steps_per_epoch, f"epoch {epoch + 1}", self.verbose) as bar:
            batches = self.train.batches(self.recipe.batch_size, generator, self.epoch_size)
            for images, labels in batches:
                step = epoch * self.steps_per_epoch + len(losses)
                logits, loss = self._step(images, labels, step)
                losses.append(loss)
                total += loss * len(labels)
                correct += (logits.argmax(dim=1) == labels).sum()
                bar.update()
                if self.log_every and len(losses) % self.log_every == 0:
                    seen = min(len(losses) * self.recipe.batch_size, self.epoch_size)
                    bar.write(self._log_line(epoch, len(losses), total / seen, correct / seen))
        count = self.epoch_size
        return total / count, correct.item() / count, losses

    def _log_line(self, epoch: int, batch: int, loss: float, accuracy: Tensor) -> str:
        """Where the epoch is, and its training figures so far."""
        return (
            f"epoch {epoch + 1:>2}  batch {batch}/{self.steps_per_epoch}  "
            f"train loss {loss:.4f} accuracy {accuracy.item():.2%}"
        )

    def _step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, float]:
        """One step down the gradient; logits and cross-entropy are those before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.recipe, step, self.steps_per_epoch)
        images = augment(images, self.recipe.augmentation)
        logits, loss = forward_and_loss(
            self.model, images, labels, self.recipe.label_smoothing, self.history.precision
        )
        value = loss.item()
        self._check_finite(value, step)  # before the step, so that a bad loss changes no weight
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        logits = logits.detach()
        smoothing = self.recipe.label_smoothing
        return logits, F.cross_entropy(logits, labels).item() if smoothing else value

    def _check_finite(self, loss: float, step: int) -> None:
        """TrainingDiverged if the loss is NaN or infinite."""
        if not math.isfinite(loss):
            epoch, within = divmod(step, self.steps_per_epoch)
            raise TrainingDiverged(
                f"the loss is {loss} in epoch {epoch + 1}, step {within + 1}: try a smaller "
                f"learning rate than {self.recipe.learning_rate:g}, or look for broken images"
            )

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; the data by name, size and checksums."""
        sets = [self.train, self.validation]
        return {
            "model": model_name(self.model),
            "recipe": asdict(self.recipe),
            "data": [[digits.name, len(digits), *_checksums(digits)] for digits in sets],
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        info = {
            **self._identity,
            "epochs": [asdict(record) for record in self.history.epochs],
            "step_losses": self.history.step_losses,
            "run": asdict(describe_run(self.model, self.recipe, self.history, finished=False)),
        }
        save_state(path, self.model, self.best_weights, self.optimizer, info)
        self.saved_epochs = len(self.history.epochs)

    def restore(self, path: Path) -> None:
        """Go back to the state of the checkpoint."""
        tensors, info = read_tensors(path)
        self._check_fits(info, path)
        with damage_named(path):
            self.history.epochs = [EpochRecord(**record) for record in info["epochs"]]
            self.history.step_losses = info["step_losses"]
            self.best_weights = load_state(path, tensors, self.model, self.optimizer)
        self.saved_epochs = len(self.history.epochs)

    def _check_fits(self, info: dict[str, Any], path: Path) -> None:
        """CheckpointError unless this run may go on from a checkpoint with that info."""
        mine = self._identity
        theirs = {name: info.get(name) for name in mine}
        if isinstance(theirs["recipe"], dict):  # an older checkpoint lacks the newer fields
            theirs["recipe"] = {**asdict(Recipe()), **theirs["recipe"]}
        if self.recipe.schedule in ("none", "step") and theirs["recipe"]:
            theirs["recipe"] = {**theirs["recipe"], "epochs": self.recipe.epochs}
        for name in mine:
            if mine[name] != theirs[name]:
                difference = _difference(theirs[name], mine[name])
                raise CheckpointError(
                    f"{path} was made with another {name} ({difference}): "
                    "resume with that one, or train in another folder"
                )

    def say_goodbye(self) -> None:
        """Print how long it took, or where it was interrupted."""
        history = self.history
        if history.interrupted:
            print(f"Interrupted: {len(history.epochs)} of {self.recipe.epochs} epochs finished.")
            return
        print(f"Training took {history.seconds / 60:.2f} minutes on {history.device}.")


def forward_and_loss(
    model: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float, precision: str
) -> tuple[Tensor, Tensor]:
    """Logits, float32 `[N, 10]`, and their cross-entropy, as a training step needs them.

    In `bfloat16` the layers compute in it (autocast), and the weights stay float32. The cross-
    entropy is always computed in float32.
    """
    # No cache: each weight is used once a step, and CUDA graphs must not find an old copy.
    with torch.autocast(
        images.device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    ):
        logits = model(images)
    logits = logits.float()
    return logits, F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def seed_all(seed: int, device: torch.device) -> torch.Generator:
    """Seed the CPU, and the GPU where it is used; return the CPU's generator."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    return torch.default_generator.manual_seed(seed)


def _difference(theirs: Any, mine: Any) -> str:
    """What differs between a checkpoint's value and this run's."""
    if not isinstance(theirs, dict) or not isinstance(mine, dict):
        return f"{theirs}, here {mine}"
    names = [name for name in mine if theirs.get(name) != mine[name]]
    return "; ".join(f"{name} {theirs.get(name)}, here {mine[name]}" for name in names)


def _checksums(digits: DigitSet) -> list[int]:
    """CRC-32 of images and labels: another split of the same data has another."""
    return [zlib.crc32(tensor.cpu().numpy().tobytes()) for tensor in (digits.images, digits.labels)]


def check_last_batch(model: nn.Module, epoch_size: int, batch_size: int) -> None:
    """RecipeError if an epoch would end with a batch that batch normalisation cannot take.

    Over the outputs of a linear layer (`BatchNorm1d`) it needs two images at least.
    """
    last_batch = epoch_size % batch_size or batch_size
    if last_batch == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()):
        raise RecipeError(
            f"with batch_size {batch_size} the last batch of an epoch holds one image, "
            "and batch normalisation needs two: choose another batch size"
        )


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@contextmanager
def _bar(total: int, title: str, verbose: bool) -> Iterator[Any]:
    """A bar in a terminal or a live notebook; none in a pipe, nor where TQDM_DISABLE is set."""
    from tqdm.auto import tqdm

    live = sys.stderr.isatty() or "ipykernel" in sys.modules
    hidden = not verbose or not live or bool(os.environ.get("TQDM_DISABLE"))
    with tqdm(total=total, desc=title, leave=False, disable=hidden) as bar:
        yield bar
