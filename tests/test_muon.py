"""muon.py: against numpy's SVD, the iteration as it is printed, torch's Muon, and steps by hand."""

import math

import mnist_helpers as mh
import numpy as np
import pytest
import torch

SHAPES = [(6, 6), (4, 20), (20, 4), (2, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def textbook(matrix, rounds):
    """X <- a X + (b X X' + c (X X')^2) X, in float64, as K. Jordan's text has it."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = np.asarray(matrix, dtype=np.float64)
    x = x / np.linalg.norm(x)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def well_conditioned(shape, seed=0):
    """A matrix with singular values between 1 and 3, times 40, and its singular vectors."""
    generator = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(generator.normal(size=shape), full_matrices=False)
    values = np.linspace(3, 1, min(shape))
    return 40 * left @ np.diag(values) @ right, left, right


# The matrix


@every_shape
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_directions_stay_and_the_strengths_become_about_one(shape, dtype):
    matrix, left, right = well_conditioned(shape)
    result = mh.muon.orthogonalized(torch.from_numpy(matrix).to(dtype), rounds=5)
    assert (result.dtype, result.shape) == (dtype, shape)
    result = result.double().numpy()
    values = np.linalg.svd(result, compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.25
    rotated = left.T @ result @ right.T
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(rotated, np.diag(rotated.diagonal()), atol=tolerance)
    assert rotated.diagonal().min() > 0.6


@every_shape
@pytest.mark.parametrize("rounds", [1, 2, None, 5])
def test_it_is_the_iteration_of_the_textbook_of_three_rounds_unless_told(shape, rounds):
    more = {"rounds": rounds} if rounds else {}
    matrix = torch.from_numpy(well_conditioned(shape, seed=1)[0])
    before = matrix.clone()
    expected = textbook(matrix, rounds or 3)
    # The guard against a division by zero is all that parts them.
    np.testing.assert_allclose(mh.muon.orthogonalized(matrix, **more), expected, atol=1e-8)
    rough = mh.muon.orthogonalized(matrix.float(), **more)
    np.testing.assert_allclose(rough, expected, atol=1e-5)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("rounds", [1, 3, 8])
@pytest.mark.parametrize("shape", [(6, 6), (512, 128)], ids=str)
def test_a_matrix_of_low_rank_gets_no_direction_stronger_than_about_one(shape, rounds):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(shape[0], 3, generator=generator)
    result = mh.muon.orthogonalized(left @ torch.randn(3, shape[1], generator=generator), rounds)
    assert result.isfinite().all()
    values = torch.linalg.svdvals(result.double())
    assert values[0] < 1.25
    assert values[3:].max() < 0.1


@pytest.mark.parametrize("factor", [1e-3, 1e6])
def test_the_size_of_the_matrix_does_not_matter(factor):
    matrix = torch.from_numpy(well_conditioned((4, 7))[0])
    expected = mh.muon.orthogonalized(matrix)
    torch.testing.assert_close(mh.muon.orthogonalized(factor * matrix), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 1)], ids=str)
def test_a_single_row_or_column_is_brought_to_length_one(shape):
    row = torch.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    by_hand = row / math.sqrt(sum(value**2 for value in row.flatten().tolist()))
    torch.testing.assert_close(mh.muon.orthogonalized(row), by_hand)


def test_zeros_stay_zeros():
    for zeros in (torch.zeros(3, 5), torch.zeros(5, 3), torch.zeros(1, 4)):
        assert torch.equal(mh.muon.orthogonalized(zeros), zeros)


# The step


def weight_of(values):
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def step_with(optimizer, weights, gradients):
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    optimizer.step()


def test_two_steps_of_a_bias_by_hand():
    """Momentum 0.5, rate 0.1, decay 0.2, gradients (3, 0) and (0, 4): four numbers a step."""
    bias = weight_of([1.0, 1.0])
    optimizer = mh.muon.Muon([bias], lr=0.1, momentum=0.5, weight_decay=0.2)
    scale = 0.1 * 0.2 * math.sqrt(2)
    step_with(optimizer, [bias], [torch.tensor([3.0, 0.0])])
    # The momentum is (3, 0), the look ahead (4.5, 0), its direction (1, 0).
    expected = [0.98 - scale, 0.98]
    assert bias.tolist() == pytest.approx(expected, rel=1e-6)
    step_with(optimizer, [bias], [torch.tensor([0.0, 4.0])])
    # The momentum is (1.5, 4), the look ahead (0.75, 6).
    length = math.sqrt(0.75**2 + 6**2)
    expected = [0.98 * expected[0] - scale * 0.75 / length, 0.98 * expected[1] - scale * 6 / length]
    assert bias.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (6, 1, 2, 2), (8, 5)], ids=str)
def test_three_steps_of_a_filter_bank_are_those_of_the_textbook(shape):
    generator = np.random.default_rng(5)
    start, *gradients = generator.normal(size=(4, *shape))
    rate, momentum, decay = 0.05, 0.7, 0.3
    weight = weight_of(start)
    optimizer = mh.muon.Muon([weight], rate, momentum, decay)
    expected, memory = start.copy(), np.zeros(shape)
    columns = math.prod(shape[1:])
    for gradient in gradients:
        step_with(optimizer, [weight], [torch.tensor(gradient, dtype=torch.float32)])
        memory = momentum * memory + gradient
        matrix = (gradient + momentum * memory).reshape(shape[0], columns)
        change = 0.2 * math.sqrt(max(shape[0], columns)) * textbook(matrix, 3)
        expected = expected * (1 - rate * decay) - rate * change.reshape(shape)
    np.testing.assert_allclose(weight.detach(), expected, atol=1e-5)


def test_matrices_are_trained_about_as_by_torchs_muon():
    """Torch's averages the gradients, which the orthogonalizing undoes, and rounds to bfloat16."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(12, 20, generator=generator)
    gradients = torch.randn(6, 12, 20, generator=generator)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    values = {"momentum": 0.8, "weight_decay": 0.1}
    as_here = {"nesterov": True, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"}
    for weight, optimizer in (
        (ours, mh.muon.Muon([ours], 0.1, **values)),
        (theirs, torch.optim.Muon([theirs], 0.1, **values, **as_here)),
    ):
        for gradient in gradients:
            step_with(optimizer, [weight], [gradient.clone()])
    difference = (ours - theirs).norm() / (theirs - start).norm()
    assert difference < 0.02


def test_weights_without_a_gradient_stay_and_get_no_memory():
    still, moving = weight_of([[1.0, 2.0], [3.0, 5.0]]), weight_of([1.0, 2.0])
    optimizer = mh.muon.Muon([still, moving], lr=0.1, weight_decay=0.5)
    step_with(optimizer, [still, moving], [None, torch.ones(2)])
    assert still.tolist() == [[1.0, 2.0], [3.0, 5.0]]
    assert moving.tolist() != [1.0, 2.0]
    assert still not in optimizer.state


def test_a_gradient_is_not_changed_and_zeros_leave_the_weights_but_for_their_decay():
    weights = [weight_of([[1.0, -2.0], [3.0, 5.0]]), weight_of([4.0]), weight_of([[1.0, 2.0]])]
    gradients = [torch.zeros(2, 2), torch.zeros(1), torch.ones(1, 2)]
    optimizer = mh.muon.Muon(weights, lr=0.1, weight_decay=0.5)
    step_with(optimizer, weights, gradients)
    expected = torch.tensor([[0.95, -1.9], [2.85, 4.75]])
    torch.testing.assert_close(weights[0].detach(), expected)
    assert weights[1].item() == pytest.approx(3.8)
    assert gradients[2].tolist() == [[1.0, 1.0]]


def test_a_closure_is_refused():
    weight = weight_of([1.0])
    weight.grad = torch.ones(1)
    with pytest.raises(TypeError, match="no closure"):
        mh.muon.Muon([weight], lr=0.1).step(lambda: 0.0)
    assert weight.tolist() == [1.0]


def some_steps(weights, optimizer, steps):
    """Steps with gradients that depend on the number of the step and on the weights."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        gradients = [
            weight.detach() + torch.randn(weight.shape, generator=generator) for weight in weights
        ]
        step_with(optimizer, weights, gradients)


def start_weights():
    generator = torch.Generator().manual_seed(9)
    shapes = [(4, 3, 2, 2), (4,), (5, 7)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def test_the_rate_may_be_a_tensor_that_is_changed_in_place():
    by_number, by_tensor = start_weights(), start_weights()
    rate = torch.tensor(0.1)
    numbers, tensors = (
        mh.muon.Muon(by_number, 0.1, 0.7, 0.2),
        mh.muon.Muon(by_tensor, rate, 0.7, 0.2),
    )
    for step, value in enumerate((0.1, 0.02, 0.3)):
        numbers.param_groups[0]["lr"] = value
        rate.fill_(value)
        some_steps(by_number, numbers, [step])
        some_steps(by_tensor, tensors, [step])
    for expected, found in zip(by_number, by_tensor, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_memory_layout_of_a_filter_bank_does_not_matter():
    plain = start_weights()[:1]
    last = [plain[0].detach().clone(memory_format=torch.channels_last).requires_grad_()]
    assert not last[0].is_contiguous()
    for weights in (plain, last):
        some_steps(weights, mh.muon.Muon(weights, 0.1, weight_decay=0.1), range(3))
    torch.testing.assert_close(last[0], plain[0], rtol=1e-6, atol=1e-6)
    assert last[0].is_contiguous(memory_format=torch.channels_last)
