"""evaluation.py against scikit-learn, scipy, closed formulas and hand-computed cases."""

import copy
import math

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics
from torch import nn


def cases(count=400, seed=0):
    """Logits that are right about two times in three, and labels of uneven frequency."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, count, p=np.arange(1, 11) / 55)
    logits = rng.normal(size=(count, 10)) * 2
    logits[np.arange(count), labels] += 3
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


LOGITS, LABELS = cases()
WITHOUT_4 = LOGITS.index_fill(1, torch.tensor(4), -20.0)  # 4 is never predicted
CASES = {
    "plain": (LOGITS, LABELS),
    "a class is absent": (WITHOUT_4[LABELS != 4], LABELS[LABELS != 4]),
    "a class is never predicted": (WITHOUT_4, LABELS),
    "a class is only predicted": (LOGITS, LABELS.clamp(max=8)),
    "one sample": (LOGITS[:1], LABELS[:1]),
    "all wrong": (-LOGITS.abs().scatter(1, LABELS[:, None], 9.0), LABELS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_scikit_learns(name):
    logits, labels = CASES[name]
    report = mh.evaluation.report_on(logits, labels, "made/test")
    true, predicted = labels.numpy(), logits.numpy().argmax(axis=1)
    probabilities = softmax(logits.double().numpy(), axis=1)
    assert report.accuracy == metrics.accuracy_score(true, predicted)
    for average, found in (("macro", report.f1_macro), ("weighted", report.f1_weighted)):
        expected = metrics.f1_score(true, predicted, average=average, zero_division=0)
        assert found == pytest.approx(expected, abs=1e-12)
    expected = metrics.log_loss(true, probabilities, labels=range(10))
    assert report.loss == pytest.approx(expected, rel=1e-5)
    expected = metrics.confusion_matrix(true, predicted, labels=range(10))
    assert np.array_equal(report.confusion.numpy(), expected)
    assert report.confusion.dtype == torch.int64
    correct = int((true == predicted).sum())
    assert report.accuracy_interval == mh.wilson_interval(correct, len(true))
    np.testing.assert_allclose(report.probabilities, probabilities, atol=1e-6)
    table = metrics.classification_report(
        true, predicted, labels=range(10), output_dict=True, zero_division=0
    )
    for digit, row in report.per_class.iterrows():
        expected = table[str(digit)]
        assert row["support"] == expected["support"]
        for column, key in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert row[column] == pytest.approx(expected[key], abs=1e-12)


def test_accuracy_and_predictions_of_a_report_agree_where_logits_are_almost_equal():
    logits = torch.zeros(2, 10)
    logits[0, 6] = 1e-9  # the softmax of float32 cannot tell the two
    report = mh.evaluation.report_on(logits, torch.tensor([6, 0]), "made")
    right = (report.predictions == report.labels).double().mean()
    assert report.accuracy == right


def test_mistakes_come_in_order_of_confidence():
    report = mh.evaluation.report_on(LOGITS, LABELS, "made")
    mistakes = report.mistakes()
    wrong = np.flatnonzero(LOGITS.numpy().argmax(axis=1) != LABELS.numpy())
    assert sorted(mistakes.tolist()) == wrong.tolist()
    confidence = report.probabilities[mistakes].max(dim=1).values
    assert (confidence.diff() <= 0).all()
    assert len(mistakes) > 50


def test_a_perfect_report_has_no_mistakes():
    report = mh.evaluation.report_on(torch.eye(10) * 50, torch.arange(10), "made")
    assert report.mistakes().tolist() == []
    assert report.most_confused() == []
    assert (report.accuracy, report.f1_macro, report.f1_weighted) == (1.0, 1.0, 1.0)


def test_most_confused_are_the_largest_counts_off_the_diagonal():
    true = [4] * 5 + [7] * 3 + [1] * 2 + [0]
    predicted = [9] * 4 + [4] + [2] * 3 + [1] * 2 + [6]
    report = mh.evaluation.report_on(torch.eye(10)[predicted], torch.tensor(true), "made")
    assert report.most_confused(2) == [(4, 9, 4), (7, 2, 3)]
    assert report.most_confused(9) == [(4, 9, 4), (7, 2, 3), (0, 6, 1)]


def test_a_report_in_words():
    words = str(mh.evaluation.report_on(*cases(1_000), "sample/test"))
    assert words.startswith("sample/test: 1,000 digits")
    for part in ("95 % interval", "macro F1", "weighted F1", "loss"):
        assert part in words


@pytest.mark.parametrize("labels", [0, 3, 5])
def test_labels_must_be_as_many_as_logits_and_some(labels, make_digits, make_tiny):
    with pytest.raises(ValueError, match=rf"{labels} labels for logits \[{labels and 4}, 10"):
        mh.evaluation.report_on(torch.zeros(labels and 4, 10), torch.zeros(labels).long(), "made")
    with pytest.raises(ValueError, match="ten logits"):
        mh.evaluation.report_on(torch.zeros(4, 26), torch.zeros(4).long(), "letters")
    with pytest.raises(ValueError, match="0 labels"):
        mh.evaluate(make_tiny(), make_digits(10).select(torch.arange(0)))


# The interval


@pytest.mark.parametrize(("correct", "total"), [(0, 5), (5, 5), (876, 1_000), (9_900, 10_000)])
def test_the_interval_is_wilsons_formula(correct, total):
    z, share = 1.959963984540054, correct / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    low, high = mh.wilson_interval(correct, total)
    assert low == pytest.approx(max(centre - half, 0), abs=1e-12)
    assert high == pytest.approx(min(centre + half, 1), abs=1e-12)
    assert 0 <= low <= share <= high <= 1
    assert total < 10_000 or (round(low, 4), round(high, 4)) == (0.9879, 0.9918)


# Two models


def test_mcnemars_test_by_hand():
    """Of eleven images that only one of both reads wrongly, the first has nine."""
    found = mh.mcnemar([*range(9), 20, 21], [20, 21, 30, 31])
    assert found == (9, 2, pytest.approx(2 * (1 + 11 + 55) / 2**11))
    assert mh.mcnemar([20, 21, 30, 31], [*range(9), 20, 21]) == (2, 9, found.p_value)
    assert mh.mcnemar([1, 2, 3], [4, 5, 6]) == (3, 3, 1.0)
    for equal in ([], [3, 5, 8]):
        assert mh.mcnemar(equal, equal) == (0, 0, 1.0)


@pytest.mark.parametrize("seed", [0, 4])
def test_mcnemars_test_is_mlxtends(seed):
    from mlxtend.evaluate import mcnemar, mcnemar_table

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 300)
    first = np.where(rng.random(300) < 0.9, labels, (labels + 1) % 10)
    second = np.where(rng.random(300) < 0.86 + 0.02 * seed, labels, (labels + 1) % 10)
    _, expected = mcnemar(mcnemar_table(labels, first, second), exact=True)
    reports = [
        mh.evaluation.report_on(torch.eye(10)[predicted], torch.tensor(labels), "made")
        for predicted in (first, second)
    ]
    found = mh.mcnemar(*(report.mistakes() for report in reports))
    assert found.first_only == ((first != labels) & (second == labels)).sum()
    assert found.second_only == ((first == labels) & (second != labels)).sum()
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_of_40_discordant_images_a_difference_of_14_is_needed():
    assert mh.mcnemar(range(27), range(27, 40)).p_value < 0.05
    assert mh.mcnemar(range(26), range(26, 40)).p_value > 0.05


@pytest.mark.parametrize(
    "kind", [set, iter, np.array, torch.tensor], ids=lambda kind: kind.__name__
)
def test_mistakes_may_come_as_any_iterable_of_positions(kind):
    first, second = list(range(9)), [7, 8, 30]
    assert mh.mcnemar(kind(first), kind(second)) == mh.mcnemar(first, second)
    assert mh.mcnemar(kind(first), second)[:2] == (7, 1)


# Calibration


def sure(confidences, right):
    """Probabilities whose largest is at digit 0, and labels that make it right or wrong."""
    confidences = torch.tensor(confidences, dtype=torch.float64)
    rest = ((1 - confidences) / 9)[:, None].expand(-1, 9)
    labels = torch.tensor([0 if is_right else 1 for is_right in right])
    return torch.cat([confidences[:, None], rest], dim=1), labels


def test_calibration_by_hand():
    """Bins of a fifth: 0.62 and 0.78 in one, 0.9 and 0.95 and 1.0 in the last."""
    probabilities, labels = sure([0.62, 0.78, 0.9, 0.95, 1.0], [1, 0, 1, 1, 0])
    table = mh.evaluation.calibration(probabilities, labels, bins=5)
    np.testing.assert_allclose(table["confidence"], [0.70, 0.95])
    np.testing.assert_allclose(table["accuracy"], [1 / 2, 2 / 3])
    assert table["count"].tolist() == [2, 3]
    by_hand = (2 * abs(0.70 - 1 / 2) + 3 * abs(0.95 - 2 / 3)) / 5
    found = mh.expected_calibration_error(probabilities, labels, bins=5)
    assert found == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("confidences", "right", "expected"),
    [
        ([1.0] * 4, [1, 1, 1, 1], 0.0),
        ([1.0] * 4, [0, 0, 0, 0], 1.0),
        ([0.75] * 4, [1, 1, 1, 0], 0.0),
        ([0.5] * 4, [1, 1, 1, 1], 0.5),
        ([0.9], [1], 0.1),
        ([1.0, 0.99], [1, 1], 0.005),
    ],
)
def test_calibration_error_of_simple_cases_in_one_bin(confidences, right, expected):
    found = mh.expected_calibration_error(*sure(confidences, right))
    assert found == pytest.approx(expected, abs=1e-12)
    assert mh.evaluation.calibration(*sure(confidences, right))["count"].tolist() == [len(right)]


def test_calibration_counts_every_prediction_once():
    for bins in (1, 7, 100):
        assert mh.evaluation.calibration(LOGITS.softmax(dim=1), LABELS, bins)["count"].sum() == 400


# Models


@pytest.mark.parametrize("batch_size", [1, 7, 1_000])
def test_logits_do_not_depend_on_the_batch_size(make_digits, batch_size):
    model, images = mh.ZOO["two_conv_dropout"].build(), make_digits(23).images
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(images)
    logits = mh.predict_logits(model, images, batch_size)
    assert logits.shape == (23, 10)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_loss_and_accuracy_are_those_of_the_report(make_digits, make_tiny):
    """Of 1,001 digits: one more than a batch."""
    model, digits = make_tiny(), make_digits(1_001)
    loss, accuracy = mh.loss_and_accuracy(model, digits)
    report = mh.evaluate(model, digits)
    logits = model(digits.images).detach()
    expected = metrics.log_loss(digits.labels, softmax(logits.double().numpy(), axis=1))
    assert loss == report.loss == pytest.approx(expected, rel=1e-5)
    assert accuracy == report.accuracy == float((logits.argmax(1) == digits.labels).double().mean())
    assert report.name == "made/digits"
    with pytest.raises(ValueError, match="made/digits holds no digits"):
        mh.loss_and_accuracy(model, digits.select(torch.arange(0)))


@pytest.mark.parametrize("modes", ["train", "eval", "frozen part", "dropout on"])
def test_evaluate_leaves_weights_modes_and_random_state(make_digits, make_tiny, modes):
    model = nn.Sequential(*make_tiny(dropout=0.5), nn.BatchNorm1d(10))
    model.train(modes in ("train", "frozen part"))[2].train(modes in ("train", "dropout on"))
    before, state = copy.deepcopy(model), torch.get_rng_state()
    whole = mh.evaluate(model, make_digits(20))
    alone = mh.evaluate(model, make_digits(1))
    torch.testing.assert_close(alone.probabilities, whole.probabilities[:1])
    with pytest.raises(RuntimeError):
        mh.predict_logits(model, torch.zeros(2, 1, 28, 27))
    assert [layer.training for layer in model] == [layer.training for layer in before]
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert all(weight.grad is None for weight in model.parameters())


def test_evaluate_on_a_gpu_is_about_the_same(make_digits, gpu):
    model, digits = mh.ZOO["two_conv"].build(), make_digits(50)
    here = mh.evaluate(model, digits)
    there = mh.evaluate(model.to(gpu), digits.to(gpu))
    assert not there.probabilities.is_cuda
    torch.testing.assert_close(here.probabilities, there.probabilities, rtol=0, atol=1e-3)
