"""data.py and mnist_files.py: digits in memory, and MNIST from files, a server or the sample."""

import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import mnist_helpers as mh
from mnist_helpers import mnist_files

pytestmark = pytest.mark.usefixtures("no_variables", "quick_sample")
NAMES = list(mnist_files.SHA256)
KEYS = ("x_train", "y_train", "x_test", "y_test")


# DigitSet


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]), "float32"),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), torch.tensor([0, 1]), r"\[2, 28, 28\]"),
        (torch.zeros(2, 1, 28, 27, dtype=torch.uint8), torch.tensor([0, 1]), r"\[N, 1, 28, 28\]"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 2]), r"int64 \[2\]"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0.0, 1.0]), "float32"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 10]), "0 to 9"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([-1, 0]), "0 to 9"),
    ],
)
def test_digit_set_refuses_other_tensors(images, labels, message):
    with pytest.raises(mh.DataError, match=message):
        mh.DigitSet(images, labels)


def test_digit_set_is_a_dataset_for_a_data_loader(make_digits):
    digits = make_digits(10)
    assert len(digits) == 10
    image, label = digits[3]
    assert torch.equal(image, digits.images[3])
    assert label == 3
    images, labels = next(iter(DataLoader(digits, batch_size=7)))
    assert torch.equal(images, digits.images[:7])
    assert torch.equal(labels, digits.labels[:7])


def test_select_takes_positions_or_a_mask(make_digits):
    digits = make_digits(20)
    by_mask = digits.select(digits.labels == 4)
    by_position = digits.select(torch.tensor([4, 14]))
    assert torch.equal(by_mask.images, digits.images[[4, 14]])
    assert torch.equal(by_mask.images, by_position.images)
    assert by_mask.labels.tolist() == [4, 4]


def test_source_is_the_name_before_the_slash(make_digits):
    assert make_digits(10, name="mnist/test").source == "mnist"
    assert make_digits(10, name="mine").source == "mine"


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


@pytest.mark.parametrize("size", [137, 0.2])
def test_split_is_disjoint_and_complete_and_keeps_the_order(size):
    digits = numbered([100, 90, 80, 70, 60, 50, 40, 30, 20, 10])
    rest, part = digits.split(size, seed=3)
    assert len(part) == (137 if size == 137 else 110)
    assert sorted(positions(rest) + positions(part)) == list(range(550))
    assert positions(part) == sorted(positions(part))
    assert torch.equal(part.labels, digits.labels[positions(part)])


def test_split_gives_each_class_its_share():
    counts = torch.tensor([103, 90, 81, 70, 60, 50, 40, 30, 20, 11])
    _, part = numbered(counts.tolist()).split(111, seed=0)
    share = counts * 111 / counts.sum()
    assert ((torch.bincount(part.labels, minlength=10) - share).abs() <= 1).all()


def test_split_is_decided_by_its_seed():
    digits = numbered([20] * 10)
    assert positions(digits.split(50, seed=1)[1]) == positions(digits.split(50, seed=1)[1])
    assert positions(digits.split(50, seed=1)[1]) != positions(digits.split(50, seed=2)[1])


def test_a_twelfth_of_60_000_is_exactly_5_000():
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(60_000, 1, 28, 28)
    train, validation = mh.DigitSet(images, torch.arange(60_000) % 10).split(1 / 12, seed=0)
    assert (len(train), len(validation)) == (55_000, 5_000)
    assert torch.bincount(validation.labels).tolist() == [500] * 10


@pytest.mark.parametrize("size", [0, -1, 40, 41, 0.0, 1.0, -0.5, 2.0, 5])
def test_split_refuses_a_size_out_of_range(make_digits, size):
    with pytest.raises(ValueError, match=r"size|test_size"):
        make_digits(40).split(size, seed=0)


def test_batches_run_in_order_to_an_uneven_end(make_digits):
    digits = make_digits(23)
    batches = list(digits.batches(5))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    assert torch.equal(torch.cat([images for images, _ in batches]), digits.images)
    assert torch.equal(torch.cat([labels for _, labels in batches]), digits.labels)


def test_batches_with_a_generator_are_shuffled_by_its_seed_and_cover_each_digit_once():
    digits = numbered([3] * 10)

    def order(seed):
        batches = list(digits.batches(7, torch.Generator().manual_seed(seed)))
        for images, labels in batches:
            assert torch.equal(labels, digits.labels[positions(mh.DigitSet(images, labels))])
        return positions(mh.DigitSet(*(torch.cat(side) for side in zip(*batches, strict=True))))

    assert sorted(order(0)) == list(range(30))
    assert order(0) != list(range(30))
    assert order(0) == order(0) != order(1)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, [1]),
        (10, [5, 5]),
        (12, [5, 5, 2]),
        (23, [5, 5, 5, 5, 3]),
        (99, [5, 5, 5, 5, 3]),
        (None, [5, 5, 5, 5, 3]),
    ],
)
@pytest.mark.parametrize("seed", [None, 4])
def test_batches_end_after_a_count_with_the_same_digits_as_all_begin_with(count, sizes, seed):
    digits = numbered([3] * 7 + [1, 1])

    def batches(count):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return list(digits.batches(5, generator, count))

    some, whole = batches(count), batches(None)
    assert [len(labels) for _, labels in some] == sizes
    for position in (0, 1):
        first = torch.cat([batch[position] for batch in some])
        assert torch.equal(first, torch.cat([batch[position] for batch in whole])[: len(first)])


def test_to_a_gpu_keeps_the_digits(make_digits, gpu):
    digits = make_digits(10)
    there = digits.to(gpu)
    assert there.images.is_cuda
    assert torch.equal(there.images.cpu(), digits.images)
    images, _ = next(there.batches(5, torch.Generator().manual_seed(0)))
    assert images.is_cuda


# Other data sets


class Torchvision:
    """Has what torchvision's MNIST-like data sets have, and counts the items it hands out."""

    def __init__(self, data, targets, transform=None):
        self.data, self.targets, self.transform, self.handed_out = data, targets, transform, 0
        self.transforms = transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if index >= len(self.data):
            raise IndexError(index)
        self.handed_out += 1
        image = Image.fromarray(self.data[index].numpy())
        label = self.targets[index].flatten()[0]
        return self.transform(image) if self.transform else image, int(label)


def to_float(image):
    return torch.from_numpy(np.array(image)).float().unsqueeze(0) / 255


def test_from_dataset_takes_the_whole_tensors_at_once(make_digits):
    digits = make_digits(12)
    dataset = Torchvision(digits.images.squeeze(1), digits.labels.int())
    taken = mh.DigitSet.from_dataset(dataset)
    assert torch.equal(taken.images, digits.images)
    assert torch.equal(taken.labels, digits.labels)
    assert taken.name == "Torchvision"
    assert dataset.handed_out == 0


def test_from_dataset_heeds_transforms(make_digits):
    digits = make_digits(12)
    upside_down = Torchvision(
        digits.images.squeeze(1), digits.labels, lambda image: to_float(image).flip(1)
    )
    taken = mh.DigitSet.from_dataset(upside_down, "mine")
    assert torch.equal(taken.images, digits.images.flip(2))
    assert taken.name == "mine"


def test_from_dataset_takes_targets_of_many_columns():
    """QMNIST's: eight columns of targets, of which an item shows the first."""
    data = torch.zeros(3, 28, 28, dtype=torch.uint8)
    targets = torch.tensor([[7, 70, 1], [8, 80, 2], [9, 90, 3]])
    assert mh.DigitSet.from_dataset(Torchvision(data, targets)).labels.tolist() == [7, 8, 9]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_from_dataset_takes_pil_images(make_digits, mode):
    digits = make_digits(6)
    images = [Image.fromarray(image[0].numpy()).convert(mode) for image in digits.images]
    taken = mh.DigitSet.from_dataset(list(zip(images, digits.labels, strict=True)))
    assert torch.equal(taken.images, digits.images)
    assert torch.equal(taken.labels, digits.labels)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28)])
@pytest.mark.parametrize("scale", [1, 255.0])
def test_from_dataset_takes_bytes_and_floats_exactly(make_digits, shape, scale):
    digits = make_digits(12)
    images = digits.images.reshape(-1, *shape)
    images = images if scale == 1 else images / scale
    taken = mh.DigitSet.from_dataset(TensorDataset(images, digits.labels))
    assert torch.equal(taken.images, digits.images)
    assert torch.equal(taken.labels, digits.labels)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 32, 32),
        torch.zeros(3, 28, 28),
        torch.zeros(28, 28, dtype=torch.int64),
        torch.full((1, 28, 28), -0.42),
        torch.full((1, 28, 28), 2.8),
        torch.full((1, 28, 28), torch.nan),
        Image.new("L", (20, 20)),
    ],
    ids=["32x32", "colour", "int64", "normalised low", "normalised high", "NaN", "20x20"],
)
def test_from_dataset_refuses_other_images(image):
    with pytest.raises(mh.DataError):
        mh.DigitSet.from_dataset([(image, 1)])


def test_from_dataset_refuses_labels_that_are_no_digits():
    letters = Torchvision(torch.zeros(2, 28, 28, dtype=torch.uint8), torch.tensor([3, 26]))
    with pytest.raises(mh.DataError, match="0 to 9"):
        mh.DigitSet.from_dataset(letters)


# IDX files


def test_read_idx_reads_the_axes_in_order():
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 255])
    array = mh.read_idx(content)
    assert array.dtype == torch.uint8
    assert array.tolist() == [[10, 20, 30], [40, 50, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x08", "not an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x07", "not an IDX file"),
        (b"<html>503</html>", "not an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02", "10 bytes found, 11 expected"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01\x01\x02", "10 bytes found, 9 expected"),
        (b"\x00\x00\x08\x03\x00\x00", "6 bytes found"),
    ],
)
def test_read_idx_refuses_other_bytes(content, message):
    with pytest.raises(mh.DataError, match=message):
        mh.read_idx(content)


# MNIST in a folder


def place(folder, files, form="raw"):
    """Write the files as raw, .gz or Keras's .npz; return their paths by name."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if form == "npz":
        arrays = dict(zip(KEYS, (arrays_of(files)[name] for name in NAMES), strict=True))
        np.savez_compressed(folder / "mnist.npz", **arrays)
        return {"mnist.npz": folder / "mnist.npz"}
    suffix, pack = (".gz", gzip.compress) if form == "gz" else ("", bytes)
    paths = {name: raw / f"{name}{suffix}" for name in files}
    for name, path in paths.items():
        path.write_bytes(pack(files[name]))
    return paths


def arrays_of(files):
    """The arrays in made IDX files, read without the package."""
    start = {name: 16 if "images" in name else 8 for name in files}
    shape = {name: (-1, 28, 28) if "images" in name else (-1,) for name in files}
    return {
        name: np.frombuffer(content[start[name] :], dtype=np.uint8).reshape(shape[name])
        for name, content in files.items()
    }


def assert_is_made_mnist(digits, files):
    arrays = arrays_of(files)
    assert digits.source == "mnist"
    found = (digits.train.images, digits.train.labels, digits.test.images, digits.test.labels)
    for name, tensor in zip(NAMES, found, strict=True):
        assert np.array_equal(tensor.squeeze().numpy(), arrays[name])
    assert (digits.train.name, digits.test.name) == ("mnist/train", "mnist/test")


@pytest.mark.parametrize("form", ["raw", "gz", "npz"])
def test_mnist_is_read_from_files(tmp_path, made_files, offline, form):
    place(tmp_path, made_files, form)
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)


def test_mnist_is_read_from_raw_and_gz_mixed(tmp_path, made_files, offline):
    place(tmp_path, {name: made_files[name] for name in NAMES[:2]}, "raw")
    place(tmp_path, {name: made_files[name] for name in NAMES[2:]}, "gz")
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)


def test_keras_integers_of_another_type_are_read(tmp_path, made_files, offline):
    arrays = arrays_of(made_files)
    wide = {key: arrays[name].astype(np.int64) for key, name in zip(KEYS, NAMES, strict=True)}
    np.savez(tmp_path / "mnist.npz", **wide)
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)


def truncated(content):
    return content[: len(content) // 2]


def emptied(content):
    return b""


def flipped(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize("damage", [truncated, emptied, flipped])
@pytest.mark.parametrize("form", ["raw", "gz", "npz"])
def test_a_damaged_file_is_named_and_moved_aside_and_never_loaded(
    tmp_path, made_files, offline, form, damage
):
    path = list(place(tmp_path, made_files, form).values())[-1]
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(mh.DataError, match=path.name.replace(".", r"\.")) as caught:
        mh.load_mnist(tmp_path, "mnist")
    assert f"{path.name}.damaged" in str(caught.value)
    assert path.with_name(f"{path.name}.damaged").read_bytes() == broken
    assert not path.exists()


def test_a_changed_pixel_is_found_by_its_sum(tmp_path, made_files, offline):
    made_files[NAMES[0]] = flipped(made_files[NAMES[0]])
    path = place(tmp_path, made_files, "gz")[NAMES[0]]
    with pytest.raises(mh.DataError, match="SHA-256"):
        mh.load_mnist(tmp_path, "mnist")
    assert not path.exists()


def test_a_good_archive_stands_in_for_a_damaged_file(tmp_path, made_files, offline, capsys):
    raw = place(tmp_path, made_files, "raw")[NAMES[1]]
    raw.write_bytes(truncated(raw.read_bytes()))
    place(tmp_path, made_files, "gz")
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)
    assert raw.with_name(f"{raw.name}.damaged").exists()
    assert f"{raw} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"no zip file", b"", b"PK\x03\x04 almost"])
def test_an_unreadable_npz_is_an_error_with_the_mend(tmp_path, made_files, offline, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(mh.DataError, match=r"mnist\.npz is damaged.*Mend"):
        mh.load_mnist(tmp_path, "mnist")
    assert (tmp_path / "mnist.npz.damaged").read_bytes() == content


def test_an_npz_that_would_unpickle_is_refused(tmp_path, made_files, offline, bomb):
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


@pytest.mark.parametrize("damage", [truncated, emptied, flipped])
def test_a_damaged_file_is_fetched_again(tmp_path, server, made_files, damage, capsys):
    path = place(tmp_path, made_files)[NAMES[2]]
    path.write_bytes(damage(path.read_bytes()))
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)
    assert path.read_bytes() == made_files[NAMES[2]]
    assert f"{path} is damaged" in capsys.readouterr().out


def test_the_second_mirror_stands_in_for_the_first(tmp_path, server, made_files, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [f"{server.url}gone/", server.url])
    assert_is_made_mnist(mh.load_mnist(tmp_path, "mnist"), made_files)


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
    digits = mh.load_mnist(tmp_path, "auto")
    assert digits.source == "sample"
    banner = capsys.readouterr().out
    for words in ("*** SAMPLE", "not MNIST scores", "download failed", "MNIST_DATA_DIR"):
        assert words in banner


@pytest.mark.parametrize("behaviour", ["half", "broken chunk", "stall", "stall midway"])
def test_a_server_that_fails_midway_leaves_nothing(tmp_path, server, monkeypatch, behaviour):
    monkeypatch.setattr(mnist_files, "DOWNLOAD_TIMEOUT_SECONDS", 0.5)
    server.behaviour = behaviour
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path, "mnist")
    assert server.asked
    assert not server.was_waited_for
    assert raw_files(tmp_path) == []


@pytest.mark.parametrize("damage", [truncated, emptied, flipped])
def test_wrong_bytes_from_a_server_are_refused(tmp_path, server, made_files, damage):
    """The archives are what torchvision expects; what is in one of them is not MNIST."""
    server.serve({**made_files, NAMES[2]: damage(made_files[NAMES[2]])})
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path, "mnist")
    assert raw_files(tmp_path) == []


@pytest.mark.parametrize("behaviour", ["well", "half"])
def test_loading_leaves_the_default_timeout_of_sockets(tmp_path, server, behaviour):
    before = socket.getdefaulttimeout()
    server.behaviour = behaviour
    try:
        socket.setdefaulttimeout(77)
        mh.load_mnist(tmp_path, "auto")
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(before)


def test_a_folder_that_cannot_be_written_is_an_error_with_the_mend(tmp_path, server):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(mh.DataError, match="Mend"):
        mh.load_mnist(tmp_path / "file" / "below", "mnist")


LOADER = """
import json, sys
from torchvision.datasets import MNIST
import mnist_helpers as mh
from mnist_helpers.mnist_files import SHA256

folder, url, resources, sums = json.loads(sys.argv[1])
MNIST.mirrors, MNIST.resources = [url], [tuple(pair) for pair in resources]
SHA256.update(sums)
digits = mh.load_mnist(folder, "mnist")
print(len(digits.train), len(digits.test), digits.source)
"""


def test_two_processes_may_download_at_once(tmp_path, server):
    server.behaviour = "together"  # neither gets the first file before both have asked for it
    given = json.dumps([str(tmp_path), server.url, server.resources, mnist_files.SHA256])
    command = [sys.executable, "-c", LOADER, given]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.splitlines()[-1] == "20 10 mnist"
    assert server.asked.count(server.first) == 4
    assert raw_files(tmp_path) == sorted(NAMES)


# The sample and the choice of source


def test_the_sample_is_4_000_and_1_000_digits_of_equal_shares(sample):
    assert sample.source == "sample"
    assert (sample.train.name, sample.test.name) == ("sample/train", "sample/test")
    assert torch.bincount(sample.train.labels).tolist() == [400] * 10
    assert torch.bincount(sample.test.labels).tolist() == [100] * 10
    assert int(sample.train.images.max()) == 255


def fingerprints(digits):
    return [image.numpy().tobytes() for image in digits.images]


def test_no_digit_of_the_sample_is_in_both_parts(sample):
    assert not set(fingerprints(sample.train)) & set(fingerprints(sample.test))


def test_the_sample_is_always_the_same(sample):
    torch.manual_seed(123)
    np.random.seed(123)
    again = mh.load_mnist(source="sample")
    assert torch.equal(again.train.images, sample.train.images)
    assert torch.equal(again.test.labels, sample.test.labels)


def test_the_variables_decide_where_nothing_is_given(tmp_path, made_files, offline, monkeypatch):
    monkeypatch.setenv("MNIST_SOURCE", "sample")
    assert mh.load_mnist().source == "sample"
    monkeypatch.setenv("MNIST_SOURCE", "mnist")
    with pytest.raises(mh.DataError, match="download failed"):
        mh.load_mnist(tmp_path)
    place(tmp_path / "there", made_files)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "there"))
    assert_is_made_mnist(mh.load_mnist(), made_files)


def test_an_argument_wins_over_its_variable(tmp_path, made_files, offline, monkeypatch):
    place(tmp_path / "there", made_files)
    monkeypatch.setenv("MNIST_SOURCE", "sample")
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "elsewhere"))
    assert_is_made_mnist(mh.load_mnist(tmp_path / "there", "mnist"), made_files)
    monkeypatch.setenv("MNIST_SOURCE", "mnist")
    assert mh.load_mnist(tmp_path / "there", "sample").source == "sample"


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
    assert mh.data_folder("~/digits") == tmp_path / "digits"
    assert mh.data_folder("digits") == tmp_path / "digits"
    assert mh.data_folder().is_absolute()


# The whole of MNIST, where it is


def test_full_mnist_has_its_counts(full_mnist):
    assert full_mnist.source == "mnist"
    assert (len(full_mnist.train), len(full_mnist.test)) == (60_000, 10_000)
    assert full_mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_the_constants_of_the_normalisation_are_full_mnists(full_mnist):
    from mnist_helpers.models import MNIST_MEAN, MNIST_STD

    pixels = full_mnist.train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(MNIST_MEAN, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(MNIST_STD, abs=5e-5)


def test_the_sample_is_of_the_training_images_only(full_mnist, sample):
    mine = set(fingerprints(sample.train)) | set(fingerprints(sample.test))
    assert mine <= set(fingerprints(full_mnist.train))
    assert not mine & set(fingerprints(full_mnist.test))


def test_the_data_cell_of_notebook_06_reads_keras_file(full_mnist, tmp_path, monkeypatch, offline):
    sets = (full_mnist.train, full_mnist.test)
    arrays = [tensor.numpy() for digits in sets for tensor in (digits.images[:, 0], digits.labels)]
    np.savez(tmp_path / "mnist.npz", **dict(zip(KEYS, arrays, strict=True)))
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MNIST_SOURCE", "mnist")
    path = Path(__file__).parent.parent / "notebooks" / "06_published_models.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    [cell] = [cell.source for cell in cells if "mh.load_mnist()" in cell.source]
    names = {"mh": mh}
    exec(cell, names)
    for part in ("train", "test"):
        mine, theirs = getattr(names["digits"], part), getattr(full_mnist, part)
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)
