"""data.py and mnist_files.py: digits in memory, and MNIST from files, a server or the sample."""

import gzip
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers import mnist_files
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchvision.datasets import MNIST

pytestmark = pytest.mark.usefixtures("no_variables", "quick_sample")
NAMES = list(mnist_files.SHA256)
KEYS = ("x_train", "y_train", "x_test", "y_test")


# DigitSet


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]), "float32"),
        (torch.zeros(2, 28, 28).byte(), torch.tensor([0, 1]), r"\[2, 28, 28\]"),
        (torch.zeros(2, 1, 28, 27).byte(), torch.tensor([0, 1]), r"\[N, 1, 28, 28\]"),
        (torch.zeros(2, 1, 28, 28).byte(), torch.tensor([0, 1, 2]), r"int64 \[2\]"),
        (torch.zeros(2, 1, 28, 28).byte(), torch.tensor([0.0, 1.0]), "float32"),
        (torch.zeros(2, 1, 28, 28).byte(), torch.tensor([0, 10]), "0 to 9"),
        (torch.zeros(2, 1, 28, 28).byte(), torch.tensor([-1, 0]), "0 to 9"),
    ],
)
def test_digit_set_refuses_other_tensors(images, labels, message):
    with pytest.raises(mh.DataError, match=message):
        mh.DigitSet(images, labels)


def test_digit_set_is_a_dataset_for_a_data_loader_and_has_parts(make_digits):
    digits = make_digits(10, name="mnist/test")
    image, label = digits[3]
    assert torch.equal(image, digits.images[3])
    assert (label, len(digits)) == (3, 10)
    images, labels = next(iter(DataLoader(digits, batch_size=7)))
    assert torch.equal(images, digits.images[:7])
    assert torch.equal(labels, digits.labels[:7])
    for indices in (torch.tensor([3, 8]), digits.labels % 5 == 3):  # positions or a mask
        assert torch.equal(digits.select(indices).images, digits.images[[3, 8]])
        assert digits.select(indices).labels.tolist() == [3, 8]


def numbered(counts):
    """Digits that carry their own position in their first pixels; counts[i] of class i."""
    labels = torch.cat([torch.full((count,), digit) for digit, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images = torch.zeros(len(labels), 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels)) // 256
    images[:, 0, 0, 1] = torch.arange(len(labels)) % 256
    return mh.DigitSet(images, labels)


def positions(digits):
    return (digits.images[:, 0, 0, 0].long() * 256 + digits.images[:, 0, 0, 1]).tolist()


@pytest.mark.parametrize(("size", "count"), [(137, 137), (0.2, 111)])
def test_split_is_disjoint_and_stratified_keeps_the_order_and_has_a_seed(size, count):
    counts = torch.tensor([103, 90, 81, 70, 60, 50, 40, 30, 20, 11])
    digits = numbered(counts.tolist())
    rest, part = digits.split(size, seed=3)
    assert len(part) == count
    assert sorted(positions(rest) + positions(part)) == list(range(555))
    assert positions(part) == sorted(positions(part))
    assert torch.equal(part.labels, digits.labels[positions(part)])
    share = counts * count / 555
    assert ((torch.bincount(part.labels, minlength=10) - share).abs() <= 1).all()
    assert positions(digits.split(size, seed=3)[1]) == positions(part)
    assert positions(digits.split(size, seed=4)[1]) != positions(part)


def test_a_twelfth_of_60_000_is_exactly_5_000():
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(60_000, 1, 28, 28)
    train, validation = mh.DigitSet(images, torch.arange(60_000) % 10).split(1 / 12, seed=0)
    assert (len(train), len(validation)) == (55_000, 5_000)
    assert torch.bincount(validation.labels).tolist() == [500] * 10


@pytest.mark.parametrize("size", [0, -1, 40, 41, 0.0, 1.0, -0.5, 2.0, 5])
def test_split_refuses_a_size_out_of_range(make_digits, size):
    with pytest.raises(ValueError, match=r"size|test_size"):
        make_digits(40).split(size, seed=0)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (10, [5, 5]), (12, [5, 5, 2]), (99, [5, 5, 5, 5, 3]), (None, [5, 5, 5, 5, 3])],
)
def test_batches_run_to_an_uneven_end_or_to_a_count_in_order_or_shuffled(count, sizes):
    digits = numbered([3] * 7 + [1, 1])

    def order(generator, *count):
        batches = list(digits.batches(5, generator, *count))
        found = mh.DigitSet(*(torch.cat(side) for side in zip(*batches, strict=True)))
        assert torch.equal(found.labels, digits.labels[positions(found)])
        return positions(found), [len(labels) for _, labels in batches]

    assert order(None, count) == (list(range(23))[:count], sizes)
    whole, _ = order(torch.Generator().manual_seed(4))
    assert sorted(whole) == list(range(23)) != whole
    assert order(torch.Generator().manual_seed(4), count) == (whole[:count], sizes)
    assert order(torch.Generator().manual_seed(5))[0] != whole


def test_to_a_gpu_keeps_the_digits(make_digits, gpu):
    digits = make_digits(10)
    there = digits.to(gpu)
    assert there.images.is_cuda
    assert torch.equal(there.images.cpu(), digits.images)
    images, _ = next(there.batches(5, torch.Generator().manual_seed(0)))
    assert images.is_cuda


# Other data sets


class Torchvision(MNIST):
    """An MNIST of torchvision with other images."""

    def __init__(self, data, targets, transform=None):
        self.data, self.targets, self.target_transform = data, targets, None
        self.transform = self.transforms = transform


class Columns(Torchvision):
    """As QMNIST: of many columns of targets, an item shows the first; and the images turned."""

    def __getitem__(self, index):
        return Image.fromarray(self.data[index].numpy().T), int(self.targets[index][0])


class Part(Torchvision):
    """Knows its length, and has more items than that."""

    def __len__(self):
        return len(self.data) - 5


class Plain(Torchvision):
    """Without `transforms`, which torchvision's have beside `transform`."""

    transforms = property(lambda self: None, lambda self, value: None)


def to_float(image):
    return torch.from_numpy(np.array(image)).float().unsqueeze(0) / 255


class Stream(IterableDataset):
    """Knows how many items come, but gives them in order only."""

    def __init__(self, *tensors):
        self.items = TensorDataset(*tensors)

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        return iter(self.items)


FORMS = {
    "a stream": Stream,
    "whole tensors": lambda images, labels: Torchvision(images, labels.int()),
    "with a transform": lambda images, labels: Torchvision(
        images.flip(1), labels, lambda image: to_float(image).flip(1)
    ),
    # A data set of one's own, which need not know `transforms`.
    "with a transform alone": lambda images, labels: Plain(
        images.flip(1), labels, lambda image: to_float(image).flip(1)
    ),
    "columns": lambda images, labels: Columns(images.mT, torch.stack([labels, labels + 9], 1)),
    "a part": lambda images, labels: Part(*(torch.cat([one, one[:5]]) for one in (images, labels))),
    "grey PIL": lambda images, labels: [
        (Image.fromarray(image.numpy()), label) for image, label in zip(images, labels, strict=True)
    ],
    "colour PIL": lambda images, labels: [
        (Image.fromarray(image.numpy()).convert("RGB"), int(label))
        for image, label in zip(images, labels, strict=True)
    ],
    "bytes": lambda images, labels: TensorDataset(images, labels),
    "bytes with a channel": lambda images, labels: TensorDataset(images.unsqueeze(1), labels),
    "floats": lambda images, labels: TensorDataset(images / 255, labels),
    "floats with a channel, to be rounded": lambda images, labels: TensorDataset(
        (images.unsqueeze(1) - 0.3).clamp(min=0) / 255, labels
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_from_dataset_takes_images_of_many_forms_exactly(make_digits, form):
    digits = make_digits(12)
    dataset = FORMS[form](digits.images[:, 0], digits.labels)
    taken = mh.DigitSet.from_dataset(dataset)
    assert torch.equal(taken.images, digits.images)
    assert torch.equal(taken.labels, digits.labels)
    assert taken.name == type(dataset).__name__
    assert mh.DigitSet.from_dataset(dataset, "mine").name == "mine"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((28, 28), np.uint8),
        Image.new("RGBA", (28, 28), (255, 255, 255, 254)),
        torch.zeros(1, 32, 32),
        torch.zeros(3, 28, 28),
        torch.zeros(28, 28, dtype=torch.int64),
        torch.full((1, 28, 28), -0.42),
        torch.full((1, 28, 28), 2.8),
        torch.full((1, 28, 28), torch.nan),
        Image.new("L", (20, 20)),
        Image.new("I;16", (28, 28), 65_535),
    ],
    ids=[
        "numpy",
        "transparent",
        "32x32",
        "colour",
        "int64",
        "normalised low",
        "normalised high",
        "NaN",
        "20x20",
        "16 bits",
    ],
)
def test_from_dataset_refuses_other_images(image):
    with pytest.raises(mh.DataError):
        mh.DigitSet.from_dataset([(image, 1)])


@pytest.mark.parametrize("label", [26, -1, 3.7, "A", None, torch.tensor(5.0)])
def test_from_dataset_refuses_labels_that_are_no_digits(label):
    image = torch.zeros(28, 28, dtype=torch.uint8)
    with pytest.raises(mh.DataError, match="0 to 9"):
        mh.DigitSet.from_dataset([(image, 3), (image, label)])


def test_from_dataset_refuses_an_empty_set_and_a_digit_set_what_is_no_tensor():
    with pytest.raises(mh.DataError, match="empty"):
        mh.DigitSet.from_dataset([])
    images, labels = torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    for name, pair in (("images", (images.numpy(), labels)), ("labels", (images, labels.numpy()))):
        with pytest.raises(mh.DataError, match=f"{name} are a ndarray"):
            mh.DigitSet(*pair)


def test_from_dataset_takes_torchvisions_own_at_once(make_digits, monkeypatch):
    digits = make_digits(12)
    monkeypatch.setattr(mh.data, "_grey", None)  # not image by image
    taken = mh.DigitSet.from_dataset(Torchvision(digits.images[:, 0], digits.labels.int()))
    assert torch.equal(taken.images, digits.images)


# IDX files


def test_read_idx_reads_the_axes_in_order():
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 255])
    assert mh.mnist_files.read_idx(content).dtype == torch.uint8
    assert mh.mnist_files.read_idx(content).tolist() == [[10, 20, 30], [40, 50, 255]]
    assert mh.mnist_files.read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 0])).shape == (0,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x08", "not an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x07", "not an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02", "10 bytes found, 11 expected"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01\x01\x02", "10 bytes found, 9 expected"),
        (b"\x00\x00\x08\x03\x00\x00", "6 bytes found"),
    ],
)
def test_read_idx_refuses_other_bytes(content, message):
    with pytest.raises(mh.DataError, match=message):
        mh.mnist_files.read_idx(content)


# MNIST in a folder


def arrays_of(files):
    """The arrays in made IDX files, read without the package."""
    start = {name: 16 if "images" in name else 8 for name in files}
    shape = {name: (-1, 28, 28) if "images" in name else (-1,) for name in files}
    return {
        name: np.frombuffer(content[start[name] :], dtype=np.uint8).reshape(shape[name])
        for name, content in files.items()
    }


def place(folder, files, form="raw"):
    """Write the files as raw, .gz, some of each, or Keras's .npz; return their paths."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if "npz" in form:
        dtype = np.int64 if "wide" in form else np.uint8
        arrays = {
            key: arrays_of(files)[n].astype(dtype) for key, n in zip(KEYS, NAMES, strict=True)
        }
        np.savez_compressed(folder / "mnist.npz", **arrays)
        return [folder / "mnist.npz"]
    paths = []
    for position, name in enumerate(NAMES):
        packed = form == "gz" or (form == "mixed" and position > 1)
        paths.append(raw / f"{name}{'.gz' if packed else ''}")
        paths[-1].write_bytes(gzip.compress(files[name]) if packed else files[name])
    return paths


def assert_is_made_mnist(digits, files):
    arrays = arrays_of(files)
    assert digits.source == "mnist"
    found = (digits.train.images, digits.train.labels, digits.test.images, digits.test.labels)
    for name, tensor in zip(NAMES, found, strict=True):
        assert np.array_equal(tensor.squeeze().numpy(), arrays[name])
    assert (digits.train.name, digits.test.name) == ("mnist/train", "mnist/test")


@pytest.mark.parametrize("form", ["raw", "gz", "mixed", "npz", "wide npz"])
def test_mnist_is_read_from_files(tmp_path, made_files, offline, form):
    place(tmp_path, made_files, form)
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize("damage", [truncated, flipped, b"", b"<html>503</html>", b"PK\x03\x04"])
@pytest.mark.parametrize("form", ["raw", "gz", "npz"])
def test_a_damaged_file_is_named_and_moved_aside_and_never_loaded(
    tmp_path, made_files, offline, form, damage
):
    path = place(tmp_path, made_files, form)[-1]
    broken = damage(path.read_bytes()) if callable(damage) else damage
    path.write_bytes(broken)
    with pytest.raises(mh.DataError, match=rf"{path.name} is damaged.*Mend") as caught:
        mh.load_mnist(tmp_path, "mnist")
    assert f"{path.name}.damaged" in str(caught.value)
    assert path.with_name(f"{path.name}.damaged").read_bytes() == broken
    assert not path.exists()


@pytest.mark.parametrize("form", ["raw", "gz", "npz"])
def test_a_changed_pixel_is_found_by_its_sum(tmp_path, made_files, offline, form):
    path = place(tmp_path, {**made_files, NAMES[0]: flipped(made_files[NAMES[0]])}, form)[0]
    with pytest.raises(mh.DataError, match="SHA-256"):
        mh.load_mnist(tmp_path, "mnist")
    assert not path.exists()


def test_a_good_archive_stands_in_for_a_damaged_file(tmp_path, made_files, offline, capsys):
    raw = place(tmp_path, made_files)[1]
    raw.write_bytes(truncated(raw.read_bytes()))
    place(tmp_path, made_files, "gz")
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)
    assert raw.with_name(f"{raw.name}.damaged").exists()
    assert f"{raw} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["raw", "npz"])
@pytest.mark.parametrize("step", ["is_file", "read_bytes"])
def test_a_file_that_cannot_be_read_stays_and_auto_takes_the_sample(
    tmp_path, made_files, offline, monkeypatch, capsys, form, step
):
    path = place(tmp_path, made_files, form)[0]
    real = getattr(Path, step)

    def locked(self):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(Path, step, locked)
    assert mh.load_mnist(tmp_path).source == "sample"
    assert f"{path} cannot be read (Permission denied)" in capsys.readouterr().out
    monkeypatch.undo()
    assert path.exists()


def test_an_npz_that_would_unpickle_is_refused(tmp_path, offline, bomb):
    np.savez(tmp_path / "mnist.npz", x_train=np.array([bomb], dtype=object))
    with pytest.raises(mh.DataError, match=r"mnist\.npz"):
        mh.load_mnist(tmp_path, "mnist")
    assert not bomb.marker.exists()


# MNIST from a server


def raw_files(folder):
    """What a download left behind in the folder, apart from files moved aside."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert not list(folder.glob(".download-*"))
    return sorted(path.name for path in found if path.suffix != ".damaged")


@pytest.mark.parametrize("source", ["mnist", "auto"])
def test_what_is_missing_is_downloaded_once(tmp_path, server, made_files, source):
    assert_is_made_mnist(mh.load_mnist(tmp_path, source), made_files)
    assert raw_files(tmp_path) == sorted(NAMES)
    asked = len(server.asked)
    assert_is_made_mnist(mh.load_mnist(tmp_path, source), made_files)
    assert len(server.asked) == asked


def test_a_damaged_file_is_fetched_again_from_the_mirror_that_has_it(
    tmp_path, server, made_files, monkeypatch, capsys
):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [f"{server.url}gone/", server.url])
    path = place(tmp_path, made_files)[2]
    path.write_bytes(truncated(path.read_bytes()))
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)
    assert path.read_bytes() == made_files[NAMES[2]]
    assert f"{path} is damaged" in capsys.readouterr().out


def test_offline_mnist_is_an_error_with_the_mend(tmp_path, offline):
    folder = tmp_path / "new" / "folder"
    with pytest.raises(mh.DataError, match="download failed") as caught:
        mh.load_mnist(folder, "mnist")
    message = str(caught.value)
    for name in (*NAMES, str(folder / "MNIST" / "raw"), "mnist.npz", "'sample'"):
        assert name in message
    assert "\n" not in message
    assert not (tmp_path / "new").exists()


def test_offline_auto_is_the_sample_with_a_banner(tmp_path, offline, capsys):
    assert mh.load_mnist(tmp_path, "auto").source == "sample"
    banner = capsys.readouterr().out
    for words in ("*** SAMPLE", "not MNIST scores", "download failed", "MNIST_DATA_DIR"):
        assert words in banner


@pytest.mark.parametrize("behaviour", ["half", "broken chunk", "stall", "stall midway"])
def test_a_server_that_fails_midway_leaves_nothing(tmp_path, server, monkeypatch, behaviour):
    monkeypatch.setattr(mnist_files, "DOWNLOAD_TIMEOUT_SECONDS", 0.2)
    server.behaviour = behaviour
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path, "mnist")
    assert server.asked
    assert not server.was_waited_for
    assert raw_files(tmp_path) == []


def test_wrong_bytes_from_a_server_are_refused(tmp_path, server, made_files):
    """The archives are what torchvision expects; what is in one of them is not MNIST."""
    server.serve({**made_files, NAMES[2]: flipped(made_files[NAMES[2]])})
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path, "mnist")
    assert raw_files(tmp_path) == []


@pytest.fixture
def timeout():
    """The default time-out of new sockets during a test."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(77)
    yield 77
    socket.setdefaulttimeout(before)


@pytest.mark.parametrize("behaviour", ["well", "half"])
def test_loading_leaves_the_default_timeout_of_sockets(tmp_path, server, timeout, behaviour):
    server.behaviour = behaviour
    mh.load_mnist(tmp_path, "auto")
    assert socket.getdefaulttimeout() == timeout


def test_a_folder_that_cannot_be_written_is_an_error_with_the_mend(tmp_path, server):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(mh.DataError, match="Mend"):
        mh.load_mnist(tmp_path / "file" / "below", "mnist")


def test_two_may_download_at_once(tmp_path, server, made_files, timeout):
    """Two threads: they share what two processes would, the folder and the server."""
    server.behaviour = "together"  # neither gets the first file before both have asked for it
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(mh.load_mnist, tmp_path, "mnist") for _ in range(2)]
    for loaded in both:
        assert_is_made_mnist(loaded.result(), made_files)
    assert server.asked.count(server.first) == 4
    assert raw_files(tmp_path) == sorted(NAMES)


# The sample and the choice of source


def fingerprints(digits):
    return {image.numpy().tobytes() for image in digits.images}


def test_the_sample_is_always_the_same_4_000_and_1_000_digits_of_equal_shares(sample):
    assert sample.source == "sample"
    assert (sample.train.name, sample.test.name) == ("sample/train", "sample/test")
    assert torch.bincount(sample.train.labels).tolist() == [400] * 10
    assert torch.bincount(sample.test.labels).tolist() == [100] * 10
    assert int(sample.train.images.max()) == 255
    assert not fingerprints(sample.train) & fingerprints(sample.test)
    torch.manual_seed(123)
    np.random.seed(123)
    again = mh.load_mnist(source="sample")
    assert torch.equal(again.train.images, sample.train.images)
    assert torch.equal(again.test.labels, sample.test.labels)


def test_the_variables_decide_where_no_argument_does(tmp_path, made_files, offline, monkeypatch):
    monkeypatch.setenv("MNIST_SOURCE", "sample")
    assert mh.load_mnist().source == "sample"
    monkeypatch.setenv("MNIST_SOURCE", "mnist")
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path)
    place(tmp_path / "there", made_files)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "there"))
    assert_is_made_mnist(mh.load_mnist(), made_files)
    assert mh.load_mnist(source="sample").source == "sample"
    monkeypatch.setenv("MNIST_SOURCE", "sample")
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "elsewhere"))
    assert_is_made_mnist(mh.load_mnist(tmp_path / "there", "mnist"), made_files)


@pytest.mark.parametrize("variable", [False, True])
def test_an_unknown_source_is_an_error_that_names_the_sources(tmp_path, monkeypatch, variable):
    if variable:
        monkeypatch.setenv("MNIST_SOURCE", "kaggle")
    with pytest.raises(mh.DataError, match=r"'kaggle'.*auto, mnist, sample"):
        mh.load_mnist(tmp_path, "auto" if variable else "kaggle")


def test_the_folder_is_absolute_and_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert mh.data.data_folder("~/digits") == tmp_path / "digits"
    assert mh.data.data_folder("digits") == tmp_path / "digits"
    assert mh.data.data_folder().is_absolute()


# The whole of MNIST, where it is


@pytest.mark.slow
def test_full_mnist_has_its_counts_and_the_constants_of_the_normalisation(full_mnist, sample):
    from mnist_helpers.models import MNIST_MEAN, MNIST_STD

    assert full_mnist.source == "mnist"
    assert (len(full_mnist.train), len(full_mnist.test)) == (60_000, 10_000)
    assert full_mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    pixels = full_mnist.train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(MNIST_MEAN, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(MNIST_STD, abs=5e-5)
    mine = fingerprints(sample.train) | fingerprints(sample.test)
    assert mine <= fingerprints(full_mnist.train)
    assert not mine & fingerprints(full_mnist.test)
