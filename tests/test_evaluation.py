"""evaluation.py against scikit-learn, scipy, closed formulas and hand-computed cases."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics
from torch import nn

import mnist_helpers as mh


def cases(count=400, seed=0):
    """Logits that are right about two times in three, and labels of uneven frequency."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, count, p=np.arange(1, 11) / 55)
    logits = rng.normal(size=(count, 10)) * 2
    logits[np.arange(count), labels] += 3
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


def without_class(logits, labels, digit):
    """No label and no prediction is `digit`."""
    logits = logits.clone()
    logits[:, digit] = -20
    return logits[labels != digit], labels[labels != digit]


def never_predicted(logits, labels, digit):
    logits = logits.clone()
    logits[:, digit] = -20
    return logits, labels


CASES = {
    "plain": cases(),
    "a class is absent": without_class(*cases(), 4),
    "a class is never predicted": never_predicted(*cases(), 7),
    "a class is only predicted": (cases()[0], cases()[1].clamp(max=8)),
    "one sample": (cases()[0][:1], cases()[1][:1]),
    "all wrong": (-cases()[0].abs().scatter(1, cases()[1][:, None], 9.0), cases()[1]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_scikit_learns(name):
    logits, labels = CASES[name]
    report = mh.report_on(logits, labels, "made/test")
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
    np.testing.assert_allclose(report.probabilities, probabilities, atol=1e-6)
    table = metrics.classification_report(
        true, predicted, labels=range(10), output_dict=True, zero_division=0
    )
    for digit, row in report.per_class.iterrows():
        expected = table[str(digit)]
        assert row["support"] == expected["support"]
        for column, key in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert row[column] == pytest.approx(expected[key], abs=1e-12)


def test_confusion_counts_true_digits_in_rows():
    logits = torch.eye(10)[[3, 3, 5]] * 5
    report = mh.report_on(logits, torch.tensor([3, 8, 5]), "made")
    assert report.confusion[8, 3] == 1
    assert report.confusion[3, 8] == 0
    assert report.confusion.dtype == torch.int64


def test_accuracy_and_predictions_of_a_report_agree_where_logits_are_almost_equal():
    logits = torch.zeros(2, 10)
    logits[0, 6] = 1e-9  # the softmax of float32 cannot tell the two
    report = mh.report_on(logits, torch.tensor([6, 0]), "made")
    right = (report.predictions == report.labels).double().mean()
    assert report.accuracy == right


def test_mistakes_come_in_order_of_confidence():
    logits, labels = cases()
    report = mh.report_on(logits, labels, "made")
    mistakes = report.mistakes()
    wrong = np.flatnonzero(logits.numpy().argmax(axis=1) != labels.numpy())
    assert sorted(mistakes.tolist()) == wrong.tolist()
    confidence = report.probabilities[mistakes].max(dim=1).values
    assert (confidence.diff() <= 0).all()
    assert len(mistakes) > 50


def test_a_perfect_report_has_no_mistakes():
    labels = torch.arange(10)
    report = mh.report_on(torch.eye(10) * 50, labels, "made")
    assert report.mistakes().tolist() == []
    assert report.most_confused() == []
    assert (report.accuracy, report.f1_macro, report.f1_weighted) == (1.0, 1.0, 1.0)


def test_most_confused_are_the_largest_counts_off_the_diagonal():
    true = [4] * 5 + [7] * 3 + [1] * 2 + [0]
    predicted = [9] * 4 + [4] + [2] * 3 + [1] * 2 + [6]
    report = mh.report_on(torch.eye(10)[predicted], torch.tensor(true), "made")
    assert report.most_confused(2) == [(4, 9, 4), (7, 2, 3)]
    assert report.most_confused(9) == [(4, 9, 4), (7, 2, 3), (0, 6, 1)]


def test_a_report_in_words():
    logits, labels = cases(1_000)
    words = str(mh.report_on(logits, labels, "sample/test"))
    assert words.startswith("sample/test: 1,000 digits")
    for part in ("95 % interval", "macro F1", "weighted F1", "loss"):
        assert part in words


@pytest.mark.parametrize("labels", [0, 3, 5])
def test_labels_must_be_as_many_as_logits_and_some(labels):
    with pytest.raises(ValueError, match=f"{labels} labels for {labels and 4} logits"):
        mh.report_on(torch.zeros(labels and 4, 10), torch.zeros(labels).long(), "made")


def test_an_empty_set_is_refused(make_digits, make_tiny):
    nothing = make_digits(10).select(torch.arange(0))
    with pytest.raises(ValueError, match="0 labels"):
        mh.evaluate(make_tiny(), nothing)


# The interval


@pytest.mark.parametrize(
    ("correct", "total"), [(0, 5), (5, 5), (1, 1), (876, 1_000), (9_900, 10_000)]
)
def test_the_interval_is_wilsons_formula(correct, total):
    z, share = 1.959963984540054, correct / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    low, high = mh.wilson_interval(correct, total)
    assert low == pytest.approx(max(centre - half, 0), abs=1e-12)
    assert high == pytest.approx(min(centre + half, 1), abs=1e-12)
    assert 0 <= low <= share <= high <= 1


def test_99_percent_of_10_000_is_98_79_to_99_18():
    low, high = mh.wilson_interval(9_900, 10_000)
    assert (round(low, 4), round(high, 4)) == (0.9879, 0.9918)


def test_a_report_holds_the_interval_of_its_accuracy():
    logits, labels = cases()
    report = mh.report_on(logits, labels, "made")
    correct = round(report.accuracy * 400)
    assert report.accuracy_interval == mh.wilson_interval(correct, 400)


# Two models


def binomial_p_value(first_only, second_only):
    """Both tails of a fair coin, by counting."""
    tosses, fewer = first_only + second_only, min(first_only, second_only)
    return min(1.0, 2 * sum(math.comb(tosses, heads) for heads in range(fewer + 1)) / 2**tosses)


def test_mcnemars_test_by_hand():
    """Of eleven images that only one of both reads wrongly, the first has nine."""
    first, second = [*range(9), 20, 21], [20, 21, 30, 31]
    found = mh.mcnemar(first, second)
    assert (found.first_only, found.second_only) == (9, 2)
    assert found.p_value == pytest.approx(2 * (1 + 11 + 55) / 2**11)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemars_test_is_mlxtends(seed):
    from mlxtend.evaluate import mcnemar, mcnemar_table

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 300)
    first = np.where(rng.random(300) < 0.9, labels, (labels + 1) % 10)
    second = np.where(rng.random(300) < 0.86 + 0.02 * seed, labels, (labels + 1) % 10)
    _, expected = mcnemar(mcnemar_table(labels, first, second), exact=True)
    wrong = [np.flatnonzero(predicted != labels).tolist() for predicted in (first, second)]
    found = mh.mcnemar(*wrong)
    assert found.p_value == pytest.approx(expected, rel=1e-9)
    assert found.p_value == pytest.approx(binomial_p_value(*found[:2]), rel=1e-9)


def test_mcnemars_test_is_symmetric():
    one, other = mh.mcnemar(range(12), range(9, 14)), mh.mcnemar(range(9, 14), range(12))
    assert one.p_value == other.p_value
    assert (one.first_only, one.second_only) == (other.second_only, other.first_only)


@pytest.mark.parametrize("mistakes", [[], [3, 5, 8]])
def test_equal_mistakes_tell_no_difference(mistakes):
    assert mh.mcnemar(mistakes, mistakes) == (0, 0, 1.0)


def test_as_many_mistakes_on_other_images_tell_no_difference():
    assert mh.mcnemar([1, 2, 3], [4, 5, 6]) == (3, 3, 1.0)


def test_of_40_discordant_images_a_difference_of_14_is_needed():
    assert mh.mcnemar(range(27), range(27, 40)).p_value < 0.05
    assert mh.mcnemar(range(26), range(26, 40)).p_value > 0.05


@pytest.mark.parametrize(
    "kind", [list, tuple, set, iter, np.array, torch.tensor], ids=lambda kind: kind.__name__
)
def test_mistakes_may_come_as_any_iterable_of_positions(kind):
    first, second = list(range(9)), [7, 8, 30]
    assert mh.mcnemar(kind(first), kind(second)) == mh.mcnemar(first, second)
    assert mh.mcnemar(kind(first), second)[:2] == (7, 1)


def test_mistakes_of_two_reports_can_be_compared():
    logits, labels = cases()
    first, second = (
        mh.report_on(values, labels, "made") for values in (logits, logits.roll(1, dims=1))
    )
    found = mh.mcnemar(first.mistakes().tolist(), second.mistakes().tolist())
    wrong = [(report.predictions != labels).numpy() for report in (first, second)]
    assert found.first_only == (wrong[0] & ~wrong[1]).sum()
    assert found.second_only == (wrong[1] & ~wrong[0]).sum()


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
    table = mh.calibration(probabilities, labels, bins=5)
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
    ],
)
def test_calibration_error_of_simple_cases(confidences, right, expected):
    found = mh.expected_calibration_error(*sure(confidences, right))
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_confidence_of_exactly_one_is_in_the_last_bin():
    probabilities, labels = sure([1.0, 0.99], [1, 1])
    assert mh.calibration(probabilities, labels, bins=10)["count"].tolist() == [2]


def test_calibration_counts_every_prediction_once():
    logits, labels = cases()
    for bins in (1, 7, 15, 100):
        assert mh.calibration(logits.softmax(dim=1), labels, bins)["count"].sum() == 400


# Models


@pytest.mark.parametrize("batch_size", [1, 7, 23, 1_000])
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
    assert report.source == "made"


def test_evaluate_leaves_weights_and_random_state(make_digits):
    model = mh.ZOO["two_conv_dropout"].build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    mh.evaluate(model, make_digits(20))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("modes", ["train", "eval", "frozen part", "dropout on"])
def test_evaluate_leaves_the_mode_of_every_layer(make_digits, make_tiny, modes):
    model = make_tiny(dropout=0.5).train(modes in ("train", "frozen part"))
    model[2].train(modes in ("train", "dropout on"))
    before = [module.training for module in model.modules()]
    mh.evaluate(model, make_digits(20))
    assert [module.training for module in model.modules()] == before


def test_evaluate_puts_the_mode_back_after_an_error(make_digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 10)).train()
    with pytest.raises(RuntimeError):
        mh.evaluate(model, make_digits(10))
    assert model.training


def test_batch_norm_uses_its_statistics_and_keeps_them(make_digits, make_tiny):
    model = nn.Sequential(make_tiny(), nn.BatchNorm1d(10)).train()
    before = copy.deepcopy(model.state_dict())
    whole = mh.predict_logits(model, make_digits(20).images)
    alone = mh.predict_logits(model, make_digits(20).images[:1])
    torch.testing.assert_close(whole[:1], alone)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_evaluate_on_a_gpu_is_about_the_same(make_digits, gpu):
    model, digits = mh.ZOO["two_conv"].build(), make_digits(50)
    here = mh.evaluate(model, digits)
    there = mh.evaluate(model.to(gpu), digits.to(gpu))
    assert not there.probabilities.is_cuda
    torch.testing.assert_close(here.probabilities, there.probabilities, rtol=0, atol=1e-3)
