"""Digits changed on purpose, a little, so that a model errs (08_robustness.ipynb)."""

from functools import partial

import torch
from mnist_helpers.augmentation import as_floats
from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import evaluating
from mnist_helpers.recipes import Recipe
from mnist_helpers.trainer import Trainer, check_finite
from mnist_helpers.training import check_sizes
from torch import Tensor, nn
from torch.nn import functional as F


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The fast gradient sign method: every pixel goes by `epsilon` to where the loss grows.

    Source: I. Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015.

    Args:
        model: images in, logits `[N, 10]` out; used in evaluation mode.
        images: `[N, 1, 28, 28]`, uint8 or float in [0, 1], on the model's device.
        labels: int64 `[N]`, the true digits.
        epsilon: the most that a pixel changes, on the scale of 0 to 1.

    Returns:
        Float `[N, 1, 28, 28]` in [0, 1]; float32 for uint8 images.
    """
    clean = as_floats(images)
    return (clean + epsilon * _gradient(model, clean, labels).sign()).clamp(0, 1)


def pgd(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int = 20
) -> Tensor:
    """Projected gradient descent: many small FGSM steps from a random start, never further than
    `epsilon` from the image.

    A step is 2.5 `epsilon` / `steps`, so that the whole range can be crossed. Source: A. Madry et
    al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Args:
        model, images, labels, epsilon: as for `fgsm`, and so is the result.
        steps: 1 or more. The start is drawn by torch's own generator of the CPU.
    """
    clean = as_floats(images)
    start = 2 * torch.rand(clean.shape).to(clean.device) - 1
    attacked = (clean + epsilon * start).clamp(0, 1)
    for _ in range(steps):
        moved = attacked + 2.5 * epsilon / steps * _gradient(model, attacked, labels).sign()
        attacked = moved.clamp(clean - epsilon, clean + epsilon).clamp(0, 1)
    return attacked


def _gradient(model: nn.Module, images: Tensor, labels: Tensor, at_a_time: int = 1_000) -> Tensor:
    """Of the loss of each image, with respect to its pixels; the model's own stays as it is."""
    gradients = []
    with evaluating(model), torch.enable_grad():
        for part, of_part in zip(images.split(at_a_time), labels.split(at_a_time), strict=True):
            pixels = part.detach().requires_grad_()
            loss = F.cross_entropy(model(pixels).float(), of_part, reduction="sum")
            gradients.append(torch.autograd.grad(loss, pixels)[0])
    return torch.cat(gradients)


def fit_adversarial(
    model: nn.Module, train: DigitSet, recipe: Recipe, epsilon: float, steps: int
) -> None:
    """Train `model` in place on attacked digits only, each batch attacked anew; last weights.

    Seeded like `fit`, on the device where model and digits are.

    Args:
        model, train, recipe: as for `fit`; of the recipe, `keep` and `patience` are not used.
        epsilon: the most that a pixel changes.
        steps: of `pgd`; with 1, a random start and one long step.

    Raises:
        TrainingDiverged: the loss is NaN or infinite.
        ValueError, RecipeError: as for `fit`.
    """
    check_sizes(model, train, recipe)
    trainer = Trainer(model, recipe, change=partial(pgd, model, epsilon=epsilon, steps=steps))
    for epoch in range(recipe.epochs):
        loss = trainer.epoch(train, epoch)
        check_finite(loss.item(), recipe, f"epoch {epoch + 1}")
