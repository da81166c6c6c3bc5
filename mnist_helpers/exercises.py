"""Answers to a notebook's exercises: right, or what differs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor


def check(answer: Any, right: Any | Callable[[], Any], tolerance: float = 0.0) -> None:
    """Print `Not filled in yet.`, `Right.`, or in what the answer differs, without the solution.

    Args:
        answer: a text, or a number, or a list, tuple, array or tensor of numbers. None, or a None
            inside, means that it was not filled in.
        right: what it must be. A function without arguments is called for it, and only when there
            is an answer: for what takes long, or would fail without one.
        tolerance: how far a number may be off.
    """
    if _has_none(answer):
        print("Not filled in yet.")
        return
    print(_difference(answer, right() if callable(right) else right, tolerance) or "Right.")


def _has_none(answer: Any) -> bool:
    if isinstance(answer, (list, tuple)):
        return any(_has_none(part) for part in answer)
    return answer is None


def _difference(answer: Any, right: Any, tolerance: float) -> str:
    """What differs, in one line; empty if nothing does."""
    if isinstance(right, str):
        return "" if answer == right else f"Not yet: {answer}."
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu().double()
    wanted = np.asarray(right)
    truths = wanted.dtype == bool
    try:
        yours, wanted = np.asarray(answer, dtype=float), wanted.astype(float)
    except (TypeError, ValueError, RuntimeError):  # the last: a list of tensors with gradients
        return f"Not yet: numbers are wanted, not {type(answer).__name__}."
    if yours.shape != wanted.shape:
        return f"Not yet: the shape is {list(yours.shape)}, and {list(wanted.shape)} is wanted."
    wrong = ~np.isclose(yours, wanted, rtol=0, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return ""
    if truths:  # which one would tell the answer
        return f"Not yet: {wrong.sum()} of {wrong.size} are not so."
    place = tuple(np.argwhere(wrong)[0])
    value = yours[place]
    ways = {value < wanted[place]: "too small", value > wanted[place]: "too large"}
    way = ways.get(True, "no number" if np.isnan(value) else "not right")
    if not yours.shape:
        return f"Not yet: {value:g} is {way}."
    where = "[" + ", ".join(map(str, place)) + "]"
    return f"Not yet: {wrong.sum()} of {wrong.size} values differ; at {where}, {value:g} is {way}."
