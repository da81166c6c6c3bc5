"""Answers to a notebook's exercises: right, or what differs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def check(answer: Any, right: Any | Callable[[], Any], tolerance: float = 0.0) -> None:
    """Print `Not filled in yet.`, `Right.`, or in what the answer differs, without the solution.

    Args:
        answer: a number, a text, or a list, tuple, dict, array or tensor of them. None, or a None
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
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        return any(_has_none(part) for part in answer)
    return answer is None


def _difference(answer: Any, right: Any, tolerance: float) -> str:
    """What differs, in one line; empty if nothing does."""
    if isinstance(right, Mapping):
        if not isinstance(answer, Mapping) or set(answer) != set(right):
            return f"Not yet: a dictionary with the keys {sorted(map(str, right))} is wanted."
        answer, right = [answer[key] for key in right], list(right.values())
    wanted = np.asarray(right)
    if wanted.dtype.kind in "UO":  # texts
        return "" if answer == right else f"Not yet: {answer}."
    try:
        yours, wanted = np.asarray(answer, dtype=float), wanted.astype(float)
    except (TypeError, ValueError):
        return f"Not yet: numbers are wanted, not {type(answer).__name__}."
    if yours.shape != wanted.shape:
        return f"Not yet: the shape is {list(yours.shape)}, and {list(wanted.shape)} is wanted."
    wrong = ~np.isclose(yours, wanted, rtol=0, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return ""
    place = tuple(np.argwhere(wrong)[0])
    value = yours[place]
    way = "too small" if value < wanted[place] else "too large"
    if not yours.shape:
        return f"Not yet: {value:g} is {way}."
    where = "[" + ", ".join(map(str, place)) + "]"
    return f"Not yet: {wrong.sum()} of {wrong.size} values differ; at {where}, {value:g} is {way}."
