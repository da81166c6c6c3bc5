"""The convolutional networks, each a plain sequence of layers (02_model.ipynb).

A model takes raw images `[N, 1, 28, 28]` (uint8 0 to 255, or float in [0, 1]) and returns logits
`[N, 10]`. The normalisation is its first layer, so no caller has to normalise.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Mean and standard deviation of the 60,000 training images' pixels in [0, 1]: see 01_data.ipynb.
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081


class Normalize(nn.Module):
    """Turn raw pixels into floats: uint8 is scaled to [0, 1], then `(images - mean) / std`.

    Raises:
        TypeError: the images are neither uint8 nor float.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = MNIST_MEAN, std: float = MNIST_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, images: Tensor) -> Tensor:
        """Images of any shape; the result has that shape, and the type of this layer's numbers."""
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise TypeError(f"images are {images.dtype}; give uint8 0..255 or float in [0, 1]")
        pixels = images.to(self.mean.dtype)
        if images.dtype == torch.uint8:
            pixels = pixels / 255
        return (pixels - self.mean) / self.std

    def extra_repr(self) -> str:
        """Mean and standard deviation, for `print(model)`."""
        return f"mean={self.mean.item():.4g}, std={self.std.item():.4g}"


class Crop(nn.Module):
    """Cut `margin` pixels, 0 or more, off each side of images `[..., H, W]`."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, images: Tensor) -> Tensor:
        """A view of the images, `[..., H - 2 margin, W - 2 margin]`."""
        inner = slice(self.margin, -self.margin or None)
        return images[..., inner, inner]

    def extra_repr(self) -> str:
        """The margin, for `print(model)`."""
        return f"margin={self.margin}"


class FlattenPixels(nn.Module):
    """As `nn.Flatten`, pixel after pixel, so copies nothing that lies channels-last in memory."""

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `[N, C, H, W]` to `[N, H * W * C]`: each pixel's channels side by side."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class DigitClassifier(nn.Sequential):
    """A sequence of layers with a name, by which a saved run can be built again.

    A slice such as `model[:4]` gives the first layers as a model of their own.
    """

    name: str = ""


# Filled by the decorator below, for `named_model`.
BUILDERS: dict[str, Callable[..., DigitClassifier]] = {}


def digit_model(layers: Callable[[], list[nn.Module]]) -> Callable[..., DigitClassifier]:
    """Make a builder from a function that lists the layers (a decorator).

    `build(seed=0, batch_norm=False, dropout=False)`: with `batch_norm`, each convolution is
    followed by batch normalisation; with `dropout`, half of the values before the last layer are
    zeroed while training. ValueError if the network has it anyway.
    """

    def build(seed: int = 0, *, batch_norm: bool = False, dropout: bool = False) -> DigitClassifier:
        with torch.random.fork_rng(devices=[]):  # leaves the caller's random state alone
            torch.default_generator.manual_seed(seed)
            model = DigitClassifier(*_with_options(layers(), batch_norm, dropout))
        model.name = layers.__name__ + "+batch_norm" * batch_norm + "+dropout" * dropout
        return model

    build.__name__ = build.__qualname__ = layers.__name__
    build.__doc__ = layers.__doc__
    BUILDERS[layers.__name__] = build
    return build


def _with_options(layers: list[nn.Module], batch_norm: bool, dropout: bool) -> list[nn.Module]:
    """The layers and those that are asked for; they draw no weights, so the others keep theirs."""
    for wanted, kind in ((batch_norm, nn.BatchNorm2d), (dropout, nn.Dropout)):
        if wanted and any(isinstance(layer, kind) for layer in layers):
            raise ValueError(f"this network has {kind.__name__} anyway")
    chosen: list[nn.Module] = []
    for layer in layers[:-1]:
        chosen.append(layer)
        if batch_norm and isinstance(layer, nn.Conv2d):
            chosen.append(nn.BatchNorm2d(layer.out_channels))
    return [*chosen, *([nn.Dropout(0.5)] if dropout else []), layers[-1]]


def named_model(name: str) -> DigitClassifier:
    """A fresh model by its `name`, such as `two_conv` or `two_conv+batch_norm`.

    Raises:
        KeyError: there is none of that name. ValueError: it has that option anyway.
    """
    network, *options = name.split("+")
    if not set(options) <= {"batch_norm", "dropout"}:
        raise KeyError(name)
    return BUILDERS[network](**dict.fromkeys(options, True))


@digit_model
def lenet() -> list[nn.Module]:
    """A LeNet with 3x3 convolutions, the smallest published one; 60,074 parameters.

    Shapes: 1x28x28 -> 6x26x26 -> pool 6x13x13 -> 16x11x11 -> pool 16x5x5 -> 400 -> 120 -> 84 -> 10.
    The input, which its source leaves open, is normalised. The log-softmax at the source's end
    changes nothing under cross-entropy, and is left out.
    """
    return [
        Normalize(),
        *(nn.Conv2d(1, 6, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(6, 16, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    ]


@digit_model
def two_conv() -> list[nn.Module]:
    """Two 3x3 convolutions without padding and one hidden layer; 225,034 parameters.

    Shapes: 1x28x28 -> 32x26x26 -> pool 32x13x13 -> 64x11x11 -> pool 64x5x5 -> 1600 -> 128 -> 10.
    The input is scaled to [0, 1] only.
    """
    return _two_conv_layers(Normalize(mean=0.0, std=1.0))


def _two_conv_layers(normalize: Normalize, *last: nn.Module) -> list[nn.Module]:
    return [
        normalize,
        *(nn.Conv2d(1, 32, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), *last),
        nn.Linear(128, 10),
    ]


@digit_model
def two_conv_dropout() -> list[nn.Module]:
    """The notebooks' network: two_conv's layers, dropout before the last; 225,034 parameters.

    Shapes: 1x28x28 -> 32x26x26 -> pool 32x13x13 -> 64x11x11 -> pool 64x5x5 -> 1600 -> 128 -> 10.
    The widths, which its source leaves open, are two_conv's.
    """
    return _two_conv_layers(Normalize(), nn.Dropout(0.5))


@digit_model
def vgg() -> list[nn.Module]:
    """Two blocks of two padded 3x3 convolutions, in the manner of VGG; 1,676,266 parameters.

    Shapes: 1x28x28 -> 32x28x28 -> 32x28x28 -> pool 32x14x14 -> 64x14x14 -> 64x14x14 ->
    pool 64x7x7 -> 3136 -> 512 -> 10. The padding, which its source leaves open, follows from its
    number of parameters.
    """
    return [
        Normalize(),
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(512, 10),
    ]


@digit_model
def three_conv() -> list[nn.Module]:
    """Three padded 3x3 convolutions, each with pooling, and one hidden layer; 390,410 parameters.

    Shapes: 1x28x28 -> 32x28x28 -> pool 32x14x14 -> 64x14x14 -> pool 64x7x7 -> 128x7x7 ->
    pool 128x3x3 -> 1152 -> 256 -> 10. The input is scaled to [-1, 1].
    """
    return [
        Normalize(mean=0.5, std=0.5),
        *(nn.Conv2d(1, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(256, 10),
    ]


def _convolution(
    channels: int, filters: int, size: int = 3, *, pool: bool = False, **options: int
) -> list[nn.Module]:
    """A convolution, batch normalisation, ReLU; pooling first leaves less to normalise."""
    return [
        nn.Conv2d(channels, filters, size, bias=False, **options),  # type: ignore[arg-type]
        *([nn.MaxPool2d(2)] if pool else []),
        *(nn.BatchNorm2d(filters), nn.ReLU()),
    ]


def _separable(channels: int, filters: int, pool: bool = False, pad: int = 0) -> list[nn.Module]:
    """A filter for each channel alone, then 1x1 ones mix them: F. Chollet, "Xception", 2017."""
    alone = nn.Conv2d(channels, channels, 3, padding=pad, groups=channels, bias=False)
    return [alone, *_convolution(channels, filters, 1, pool=pool)]


@digit_model
def fast() -> list[nn.Module]:
    """The fast network: two convolutions and a hidden layer; 111,778 parameters.

    Shapes: 1x24x24 (cropped) -> 24x7x7 -> 32x5x5 -> 800 -> 128 -> 10. The first convolution takes
    every third place only.
    """
    return [
        *(Crop(2), Normalize()),
        *(nn.Conv2d(1, 24, 6, stride=3), nn.ReLU(inplace=True)),
        *(nn.Conv2d(24, 32, 3), nn.ReLU(inplace=True)),
        *(FlattenPixels(), nn.Linear(800, 128, bias=False), nn.BatchNorm1d(128)),
        *(nn.ReLU(inplace=True), nn.Linear(128, 10)),
    ]


@digit_model
def record() -> list[nn.Module]:
    """Six 3x3 convolutions, the most accurate network here; 302,586 parameters.

    Shapes: 1x28x28 -> 16x26x26 -> 32x24x24 -> pool 32x12x12 -> 64x12x12 -> 64x12x12 ->
    pool 64x6x6 -> 128x6x6 -> 128x4x4 -> 2048 -> 10.
    """
    return [
        Normalize(),
        *_convolution(1, 16),
        *_convolution(16, 32, pool=True),
        *_convolution(32, 64, padding=1),
        *_convolution(64, 64, padding=1, pool=True),
        *_convolution(64, 128, padding=1),
        *_convolution(128, 128),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(2048, 10)),
    ]


@digit_model
def tiny() -> list[nn.Module]:
    """A convolution, three separable ones and a 5x5 window for each channel; 4,370 parameters.

    Shapes: 1x28x28 -> 16x26x26 -> 16x24x24 -> 24x24x24 -> pool 24x12x12 -> 24x10x10 -> 32x10x10 ->
    pool 32x5x5 -> 32x5x5 -> 32x5x5 -> 32 -> 10.
    """
    return [
        Normalize(),
        *_convolution(1, 16),
        *_separable(16, 24, pool=True),
        *_separable(24, 32, pool=True),
        *_separable(32, 32, pad=1),
        *_convolution(32, 32, 5, groups=32),
        *(nn.Flatten(), nn.Linear(32, 10)),
    ]


def count_parameters(model: nn.Module) -> int:
    """The number of weights that training changes."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def count_multiply_adds(model: nn.Module) -> int:
    """How many multiplications, each with an addition, one image costs.

    Convolutions and linear layers are counted; normalising, ReLU and pooling are next to nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here: slow to import

    model = copy.deepcopy(model).eval()
    image = torch.zeros(1, 1, 28, 28, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() // 2
