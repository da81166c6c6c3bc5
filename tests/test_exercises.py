"""What `check` says to an answer."""

import mnist_helpers as mh
import numpy as np
import pytest
import torch


def said(capsys, *arguments):
    mh.check(*arguments)
    [line] = capsys.readouterr().out.splitlines()
    return line


RIGHT = [
    (3, 3),
    (3.0004, 3, 1e-3),
    (True, True),
    (torch.tensor(2.5), 2.5),
    ((0, 1), [0, 1]),
    ("nine", "nine"),
    (torch.ones(1, requires_grad=True), [1]),
    (torch.ones(1, dtype=torch.bfloat16), [1]),
    (torch.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)),
    (1, lambda: 1),
]
WRONG = [
    (4, 3, "Not yet: 4 is too large."),
    (3.01, 3, "Not yet: 3.01 is too large."),
    (False, True, "Not yet: 1 of 1 are not so."),
    ([True, False], [True, True], "Not yet: 1 of 2 are not so."),
    ("six", "nine", "Not yet: six."),
    ("six", 6, "Not yet: numbers are wanted, not str."),
    (object(), 6, "Not yet: numbers are wanted, not object."),
    ([1, 2], [1, 2, 3], "Not yet: the shape is [2], and [3] is wanted."),
    ({"x": 1}, 1, "Not yet: numbers are wanted, not dict."),
    ([1, [2, 3]], [1, 2], "Not yet: numbers are wanted, not list."),
    ([torch.ones(1, requires_grad=True)], [1], "Not yet: numbers are wanted, not list."),
    ([[5], [7]], [[2], [3]], "Not yet: 2 of 2 values differ; at [0, 0], 5 is too large."),
    (float("nan"), 1, "Not yet: nan is no number."),
]  # fmt: skip


@pytest.mark.parametrize("arguments", RIGHT)
def test_right_answers_are_called_right(capsys, arguments):
    assert said(capsys, *arguments) == "Right."


@pytest.mark.parametrize(("answer", "right", "line"), WRONG)
def test_wrong_answers_are_told_what_differs(capsys, answer, right, line):
    assert said(capsys, answer, right) == line


@pytest.mark.parametrize("answer", [None, (1, None), [[None]]])
def test_an_empty_answer_is_not_judged(capsys, answer):
    def expensive():
        raise AssertionError("called without an answer")

    assert said(capsys, answer, expensive) == "Not filled in yet."
