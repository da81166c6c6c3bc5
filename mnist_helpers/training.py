"""fit(): train, validate, record, stop and go on (03_training.ipynb)."""

import os
import sys
import time
from collections.abc import Callable
from operator import mul
from pathlib import Path
from typing import Any

import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.device import RecipeError, resolve_device
from mnist_helpers.evaluation import lay_out, loss_and_accuracy, predict_logits
from mnist_helpers.files import CheckpointError, load_weights
from mnist_helpers.history import EpochRecord, History
from mnist_helpers.recipes import Recipe, learning_rate_at
from mnist_helpers.runs import METRICS, RUN, State
from mnist_helpers.trainer import Trainer, TrainingDiverged, check_finite, copy_weights
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


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

    Ctrl-C, or the notebook's stop button, ends training and returns the history so far; the model
    has the best weights of the finished epochs (or, under `keep="last"`, those of that moment).

    Args:
        model: images `[N, 1, 28, 28]` in, logits `[N, 10]` out; moved to `device`.
        train: what it learns from. validation: what epochs are compared on.
        recipe: how to train.
        device: `auto`, `cpu`, `cuda` or `mps`.
        run_dir: where a checkpoint is kept after every epoch, in place of a saved run. None: none.
        resume: go on from the checkpoint in `run_dir`, bit-exact on the same CPU. The recipe must
            be the checkpoint's; only `epochs` may have grown, under a schedule that ignores it.
        verbose: print a line an epoch and the time, and show a bar in a terminal or notebook.
        log_every: print a line every so many batches, `verbose` or not: loss and accuracy of the
            epoch so far.
        after_epoch: called with the model, in evaluation mode, after each epoch trained here and
            its checkpoint; for example to keep the weights.

    Raises:
        TrainingDiverged: the loss is NaN or infinite; the model gets its best weights so far back.
        CheckpointError: the checkpoint cannot be written, or not be resumed from.
        ValueError: there are no digits, or the model gives no ten logits for one.
        RecipeError: there is no such device, `log_every` is under 1, or a batch would hold one
            image where batch normalisation needs two.
    """
    if log_every is not None and log_every < 1:
        raise RecipeError(f"log_every is {log_every}: it must be at least 1")
    if resume and run_dir is None:
        raise CheckpointError("resume needs run_dir, the folder of the checkpoint")
    run = _Fit(model, train, validation, recipe, resolve_device(device), run_dir)
    run.verbose, run.log_every = verbose, log_every
    if resume:
        run.restore()
    else:
        run.save()  # a folder that cannot be written fails at once
    try:
        while not run.done:
            run.one_epoch()
            run.save()
            if after_epoch is not None:
                after_epoch(model)
    except KeyboardInterrupt:
        run.history.interrupted = True
        run.save()  # in case that it came between the end of an epoch and its checkpoint
    except TrainingDiverged:
        run.finish("best")
        raise
    run.finish(recipe.keep)
    if verbose:
        run.say_goodbye()
    return run.history


class _Fit:
    """What `fit` does around the steps of the trainer: validation, history, checkpoints."""

    verbose = False
    log_every: int | None = None

    def __init__(
        self,
        model: nn.Module,
        train: DigitSet,
        validation: DigitSet,
        recipe: Recipe,
        device: torch.device,
        run_dir: str | Path | None,
    ) -> None:
        if not len(validation):
            raise ValueError("validation must hold at least one digit")
        _check_model(model)
        check_sizes(model, train, recipe)
        lay_out(model, device)
        self.trainer, self.recipe = Trainer(model, recipe), recipe
        self._steps = recipe.epoch_of(len(train))[1]
        self.history = History(str(device), self.trainer.precision)
        self.state = State(
            *(model, self.trainer.optimizer, recipe, self.history, copy_weights(model)),
            *(train.to(device), validation.to(device)),
        )
        self.folder, self.saved = None if run_dir is None else Path(run_dir), -1

    def save(self) -> None:
        """Write the checkpoint of the epochs so far, if it is wanted and not there yet."""
        if self.folder is not None and self.saved < len(self.history.epochs):
            self.state.save(self.folder)
            self.saved = len(self.history.epochs)
            for name in (RUN, METRICS) if self.saved else ():  # of a run that was saved here before
                (self.folder / name).unlink(missing_ok=True)

    def restore(self) -> None:
        """Go back to the checkpoint."""
        assert self.folder is not None
        self.state.restore(self.folder)
        self.saved = len(self.history.epochs)

    @property
    def done(self) -> bool:
        """Whether the last epoch is reached, or patience has run out."""
        epochs, best, patience = self.history.epochs, self.history.best, self.recipe.patience
        stale = len(epochs) - best.epoch if best else 0
        return len(epochs) >= self.recipe.epochs or (patience is not None and stale >= patience)

    def one_epoch(self) -> None:
        """Train for one epoch, validate, record."""
        start, epoch = time.perf_counter(), len(self.history.epochs)
        loss, accuracy, step_losses = self._train_epoch(epoch)
        model = self.state.model
        validated = loss_and_accuracy(model, self.state.validation)
        check_finite(validated[0], self.recipe, f"epoch {epoch + 1}, step {len(step_losses)}")
        rate = learning_rate_at(self.recipe, (epoch + 1) * self._steps - 1, self._steps)
        seconds = time.perf_counter() - start
        record = EpochRecord(epoch + 1, loss, accuracy, *validated, rate, seconds)
        if self.history.best is None or record.merit > self.history.best.merit:
            self.state.best_weights = copy_weights(model)
        self.history.step_losses.extend(step_losses)
        self.history.epochs.append(record)  # last: from here on the epoch counts
        if self.verbose:
            print(record)

    def _train_epoch(self, epoch: int) -> tuple[float, float, list[float]]:
        """Loss and accuracy over the epoch's samples, and the loss of each step."""
        pending: list[tuple[Tensor, Tensor, Tensor]] = []  # on the device: each wait for it costs
        losses: list[float] = []
        right, seen, total = 0, 0, 0.0
        steps, smoothing = self._steps, self.recipe.label_smoothing

        def fetch() -> None:
            nonlocal right, seen, total
            labels = [one for one, _, _ in pending]
            logits = [one for _, one, _ in pending]
            of_steps = [one for _, _, one in pending]
            if smoothing:  # what is recorded is the plain loss
                of_steps = list(map(F.cross_entropy, logits, labels))
            sizes = list(map(len, labels))
            losses.extend(torch.stack(of_steps).tolist())
            total += sum(map(mul, losses[-len(sizes) :], sizes))
            right += int((torch.cat(logits).argmax(dim=1) == torch.cat(labels)).sum())
            seen += sum(sizes)
            pending.clear()

        def after_step(labels: Tensor, logits: Tensor, loss: Tensor) -> None:
            pending.append((labels, logits, loss))
            bar.update()
            step = len(losses) + len(pending)
            if self.log_every and step % self.log_every == 0:
                fetch()
                place = f"epoch {epoch + 1:>2}  batch {step}/{steps}"
                bar.write(f"{place}  train loss {total / seen:.4f} accuracy {right / seen:.2%}")

        with _bar(steps, f"epoch {epoch + 1}", self.verbose) as bar:
            self.trainer.epoch(self.state.train, epoch, after_step)
        if pending:
            fetch()
        for step, value in enumerate(losses):
            check_finite(value, self.recipe, f"epoch {epoch + 1}, step {step + 1}")
        return total / seen, right / seen, losses

    def finish(self, keep: str) -> None:
        """Leave the model with the weights to keep."""
        if keep == "best":
            load_weights(self.state.model, self.state.best_weights)
        self.state.model.eval()

    def say_goodbye(self) -> None:
        """Print how long it took, or where it stopped."""
        history = self.history
        if history.interrupted:
            print(f"Interrupted: {len(history.epochs)} of {self.recipe.epochs} epochs finished.")
        else:
            print(f"Training took {history.seconds / 60:.2f} minutes on {history.device}.")


def _bar(total: int, title: str, verbose: bool) -> Any:
    """A bar in a terminal or a live notebook; none in a pipe, nor where TQDM_DISABLE is set."""
    from tqdm.auto import tqdm

    live = sys.stderr.isatty() or "ipykernel" in sys.modules
    hidden = not verbose or not live or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(total=total, desc=title, leave=False, disable=hidden)


def _check_model(model: nn.Module) -> None:
    """ValueError if the model gives no ten numbers for a digit."""
    try:
        given = list(predict_logits(model, torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape)
    except (AttributeError, RuntimeError, TypeError) as error:
        why = f"the model fails on uint8 images [N, 1, 28, 28]: {error}"
        bytes_as_they_are = "Byte" in why or "unsigned char" in why
        mend = "; begin with mnist_helpers.Normalize" if bytes_as_they_are else ""
        raise ValueError(f"{why}{mend}") from error
    if given != [1, 10]:
        raise ValueError(f"the model gives {given} for one image; it must give ten logits, [1, 10]")


def check_sizes(model: nn.Module, train: DigitSet, recipe: Recipe) -> None:
    """ValueError without a digit; RecipeError if an epoch would end with one image, and batch
    normalisation would get one value of a channel only, where it needs two.
    """
    if not len(train):
        raise ValueError("train must hold at least one digit")
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    if not norms or (recipe.epoch_of(len(train))[0] - 1) % recipe.batch_size:
        return
    values: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: values.append(given[0][:, 0].numel()))
        for layer in norms
    ]
    try:
        predict_logits(model, train.images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if 1 in values:
        raise RecipeError(
            f"with batch_size {recipe.batch_size} the last batch of an epoch holds one image, "
            "and batch normalisation needs two: choose another batch size"
        )
