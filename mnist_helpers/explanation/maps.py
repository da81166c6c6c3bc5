"""Which pixels made the answer: four maps, and a test of them (11_explanation.ipynb).

Every map is float32 `[N, 1, 28, 28]` on the CPU, for the logit of the digit in `targets`: positive
where a pixel speaks for it. The arguments are the same everywhere: a model from images to logits;
images `[N, 1, 28, 28]`, uint8 or float in [0, 1]; targets int64 `[N]`. The model runs in evaluation
mode and is left as it was.
"""

from collections.abc import Callable

import torch
from mnist_helpers.augmentation import as_floats
from mnist_helpers.evaluation import evaluating, predict_logits
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 500


def saliency(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the logit with respect to the pixels, on the scale of 0 to 1.

    Source: K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional networks", 2013; here
    with its sign.
    """
    return _in_batches(lambda pixels, digits: _gradient(model, pixels, digits), images, targets)


def integrated_gradients(
    model: nn.Module, images: Tensor, targets: Tensor, steps: int = 50
) -> Tensor:
    """The gradient, averaged over the way from a black image to this one, times the pixels.

    Its sum is the logit less that of a black image, up to what `steps` points leave out (the
    midpoint rule).

    Source: M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """

    def mean_gradient(pixels: Tensor, digits: Tensor) -> Tensor:
        parts = (torch.arange(steps) + 0.5) / steps
        ways = [_gradient(model, part * pixels, digits) for part in parts.tolist()]
        return torch.stack(ways).mean(dim=0)

    return as_floats(images).float().cpu() * _in_batches(mean_gradient, images, targets)


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Where the feature maps of a convolution speak for the digit; never negative.

    Each map counts by its mean gradient; what is below 0 is cut off. The result is stretched to
    28x28, bilinear, as if the layer's places lay evenly over the image.

    Source: R. Selvaraju et al., "Grad-CAM", ICCV 2017.
    """

    def one(pixels: Tensor, digits: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
            seen.append(output)
            return output.clone()  # what comes next may work in place

        hook = layer.register_forward_hook(keep)
        try:
            logit = _logits(model, pixels, digits).sum()
        finally:
            hook.remove()
        weights = torch.autograd.grad(logit, seen[0])[0].mean(dim=(2, 3), keepdim=True)
        small = (weights * seen[0]).sum(dim=1, keepdim=True).relu()
        return F.interpolate(small.detach(), pixels.shape[-2:], mode="bilinear")

    return _in_batches(one, images, targets)


def occlusion(
    model: nn.Module, images: Tensor, targets: Tensor, size: int = 4, step: int = 2
) -> Tensor:
    """How much the logit falls if a black patch lies on a pixel: the mean over all patches on it,
    and 0 where none lies.

    Args:
        size: of the square patch, in pixels. step: from one patch to the next.

    Source: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    height, width = images.shape[-2:]
    total, count = torch.zeros(len(images), 1, height, width), torch.zeros(height, width)
    before = _target_logits(model, images, targets)
    for top in range(0, height - size + 1, step):
        for left in range(0, width - size + 1, step):
            covered = images.clone()
            covered[..., top : top + size, left : left + size] = 0
            fall = before - _target_logits(model, covered, targets)
            total[..., top : top + size, left : left + size] += fall[:, None, None, None]
            count[top : top + size, left : left + size] += 1
    return total / count.clamp(min=1)


def deletion_drop(
    model: nn.Module, images: Tensor, targets: Tensor, scores: Tensor, part: float = 0.1
) -> Tensor:
    """How much the logit falls if the inked pixels that score highest turn black: `[N]`.

    Args:
        scores: `[N, 1, 28, 28]`, such as a map; random numbers delete random ink.
        part: of the inked pixels of each image, 0 to 1; at least one.

    Source: V. Petsiuk, A. Das, K. Saenko, "RISE", BMVC 2018.
    """
    ink = (images > 0).flatten(1).cpu()
    ranked = scores.flatten(1).masked_fill(~ink, -torch.inf).argsort(dim=1, descending=True)
    gone = ranked.argsort(dim=1) < (part * ink.sum(dim=1, keepdim=True)).round().clamp(min=1)
    left = images.masked_fill(gone.view_as(images).to(images.device), 0)
    return _target_logits(model, images, targets) - _target_logits(model, left, targets)


def _in_batches(one: Callable[[Tensor, Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
    parts = zip(as_floats(images).float().split(BATCH), targets.split(BATCH), strict=True)
    with torch.enable_grad():  # the caller may have it off
        return torch.cat([one(pixels, digits).cpu() for pixels, digits in parts])


def _logits(model: nn.Module, pixels: Tensor, digits: Tensor) -> Tensor:
    """The logit of each target, `[N]`, with its graph."""
    weight = next(model.parameters(), pixels)
    with evaluating(model), torch.enable_grad():
        logits = model(pixels.to(weight.device).requires_grad_())
    return logits.gather(1, digits.to(logits.device)[:, None])[:, 0]


def _gradient(model: nn.Module, pixels: Tensor, digits: Tensor) -> Tensor:
    """Of the logits with respect to the pixels."""
    weight = next(model.parameters(), pixels)
    pixels = pixels.detach().to(weight.device).requires_grad_()
    return torch.autograd.grad(_logits(model, pixels, digits).sum(), pixels)[0].cpu()


def _target_logits(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The logit of each target, `[N]`, on the CPU, without a graph."""
    return predict_logits(model, images).gather(1, targets.cpu()[:, None])[:, 0]
