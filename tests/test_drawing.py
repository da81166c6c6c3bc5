"""drawing.py: strokes in, an answer out. The page itself is tested in test_browser.py."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("anywidget")
from traitlets import TraitError

import mnist_helpers as mh
from mnist_helpers import drawing
from mnist_helpers.drawing import DrawingPad
from mnist_helpers.handwriting import digit_from_image
from mnist_helpers.paper import draw_strokes

ONE = [[[0.5, 0.2], [0.5, 0.8]]]
MINUS = [[[0.2, 0.5], [0.8, 0.5]]]


class Tall(nn.Module):
    """Calls what is tall 1, and all else 0, with a probability that `certainty` decides."""

    def __init__(self, logit=5.0):
        super().__init__()
        self.logit = logit

    def forward(self, images):
        rows, columns = images.amax(3) > 0, images.amax(2) > 0
        tall = rows.sum((1, 2)) > columns.sum((1, 2))
        return self.logit * torch.eye(10)[tall.long()]


def test_strokes_become_an_image_probabilities_and_an_answer():
    pad = DrawingPad(Tall(), strokes=ONE)
    expected = digit_from_image(255 - draw_strokes(ONE)).image
    assert pad.drawing.shape == (280, 280)
    assert torch.equal(pad.image, expected)
    assert pad.seen == expected.flatten().tolist()
    np.testing.assert_allclose(pad.probabilities, mh.predict(Tall(), expected[None])[0])
    assert pad.message == "1, 94 %"  # e^5 / (e^5 + 9)


def test_new_strokes_give_a_new_answer_and_none_an_empty_paper():
    pad = DrawingPad(Tall(), strokes=ONE)
    pad.strokes = MINUS
    assert pad.message == "0, 94 %"
    pad.strokes = []
    assert (pad.message, pad.image) == (drawing.EMPTY, None)
    assert pad.seen == pad.probabilities == []
    assert not pad.drawing.any()


def test_an_empty_pad_asks_for_a_digit():
    pad = DrawingPad(Tall())
    assert pad.message == "Draw a digit."
    assert pad.image is None
    assert pad.drawing.shape == (280, 280)


@pytest.mark.parametrize(
    ("temperature", "threshold", "message"),
    [
        (1.0, 0.9, "1, 94 %"),
        (1.0, 0.95, "not sure: 1 or 0, 94 %"),
        (2.0, 0.9, "not sure: 1 or 0, 58 %"),  # e^2.5 / (e^2.5 + 9)
    ],
)
def test_certainty_decides_how_sure_the_answer_is(temperature, threshold, message):
    certainty = SimpleNamespace(temperature=temperature, threshold=threshold)
    assert DrawingPad(Tall(), certainty, strokes=ONE).message == message


def test_what_is_no_digit_gets_its_reason_as_the_message(monkeypatch):
    def refuse(image):
        raise drawing.DigitNotFound("the ink touches the edge")

    pad = DrawingPad(Tall(), strokes=ONE)
    monkeypatch.setattr(drawing, "digit_from_image", refuse)
    pad.strokes = MINUS
    assert pad.message == "the ink touches the edge"
    assert pad.image is None
    assert pad.seen == pad.probabilities == []
    assert pad.drawing.any()


def test_a_dot_is_answered_or_refused_but_no_error():
    assert DrawingPad(Tall(), strokes=[[(0.5, 0.5)]], thickness=4).message


def test_errors_of_the_model_are_not_hidden():
    with pytest.raises(RuntimeError):
        DrawingPad(nn.Linear(3, 10), strokes=ONE)


def test_a_thicker_pen_leaves_more_ink_and_stays_in_range():
    pad = DrawingPad(Tall(), strokes=ONE, thickness=10)
    thin = pad.drawing.sum()
    pad.thickness = 40
    assert pad.drawing.sum() > 3 * thin
    for asked, kept in ((1, 4), (10**9, 60), (-5, 4)):
        pad.thickness = asked
        assert pad.thickness == kept


@pytest.mark.parametrize("strokes", [7, "77", [7], ["7"], [(0.2, 0.3)], [[(0.2, 0.3, 0.4)]]])
def test_what_is_not_strokes_is_refused(strokes):
    pad = DrawingPad(Tall(), strokes=ONE)
    with pytest.raises(TraitError):
        pad.strokes = strokes
    assert pad.strokes == ONE


def test_points_that_are_no_numbers_are_left_out_and_those_beside_the_paper_moved():
    pad = DrawingPad(Tall())
    pad.strokes = [[(0.5, 0.2), (np.nan, 0.4), (0.5, np.inf), (0.5, 3)], [(np.nan, 0)], []]
    assert pad.strokes == [[[0.5, 0.2], [0.5, 1.0]]]


def test_arrays_and_tuples_become_what_json_can_hold():
    pad = DrawingPad(Tall(), strokes=(np.float32([(0.5, 0.25), (0.5, 0.75)]),))
    assert json.dumps(pad.strokes) == "[[[0.5, 0.25], [0.5, 0.75]]]"
    json.dumps([pad.seen, pad.probabilities, pad.message])


def test_a_full_paper_takes_no_more_points():
    pad = DrawingPad(Tall())
    pad.strokes = [[(0.1, 0.1)] * 2_000, [(0.2, 0.2)] * 2_000, [(0.3, 0.3)]]
    assert [len(stroke) for stroke in pad.strokes] == [2_000, 1_000]
    assert pad.message == drawing.FULL
    assert pad.image is None


# What the page sends


@pytest.fixture
def page(monkeypatch):
    """A pad and the list of what it sends to its page."""
    pad, sent = DrawingPad(Tall()), []
    monkeypatch.setattr(pad.comm, "send", lambda data, **_: sent.append(data))
    return pad, sent


def updates(sent):
    return [message["state"] for message in sent if message["method"] == "update"]


def test_strokes_from_the_page_are_answered_in_one_message(page):
    pad, sent = page
    pad.set_state({"strokes": ONE})
    [state] = updates(sent)
    assert state == {
        "message": "1, 94 %",
        "seen": pad.image.flatten().tolist(),
        "probabilities": pad.probabilities,
    }
    json.dumps(state, allow_nan=False)


def test_bad_points_from_the_page_are_put_right_on_the_page_too(page):
    pad, sent = page
    pad.set_state({"strokes": [[[0.5, 0.2], [None, 0.4], [0.5, 0.8]]]})
    assert pad.strokes == ONE
    pad.set_state({"strokes": [[[0.5, 0.5]] * 100_000], "thickness": 10**6})
    assert pad.message == drawing.FULL
    last = {name: value for state in updates(sent) for name, value in state.items()}
    assert last["strokes"] == pad.strokes
    assert last["thickness"] == pad.thickness == 60
    assert last["message"] == drawing.FULL


def test_pads_share_no_state(make_tiny):
    first, second = DrawingPad(make_tiny(0), strokes=ONE), DrawingPad(make_tiny(1))
    assert second.strokes == []
    assert second.message == drawing.EMPTY
    assert not second.drawing.any()
    second.strokes = ONE
    assert second.probabilities != first.probabilities
    assert torch.equal(second.image, first.image)


def test_the_pad_changes_neither_the_model_nor_its_mode(make_tiny):
    model = make_tiny(dropout=0.5).train()
    pad = DrawingPad(model, strokes=ONE)
    answer = pad.message
    pad.strokes = MINUS
    pad.strokes = ONE
    assert pad.message == answer
    assert model.training


# Where there is no page


def test_without_widgets_one_line_tells_the_answer_and_where_to_draw():
    data, _ = DrawingPad(Tall(), strokes=ONE)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "1, 94 %" in data["text/plain"]
    assert "JupyterLab" in data["text/plain"]
    assert "\n" not in data["text/plain"]


def test_the_page_loads_nothing_from_elsewhere():
    script = str(DrawingPad._esm)
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\b|\bfetch\b|@import|url\(", script)
    assert 'min="4" max="60"' in script
    assert drawing.THICKNESS == (4, 60)
    assert f"SIZE = {drawing.SIZE};" in script


def test_without_anywidget_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "mnist_helpers.drawing")
    with pytest.raises(ImportError) as caught:
        import mnist_helpers.drawing  # noqa: F401
    assert str(caught.value) == "the drawing pad needs anywidget: run `pip install anywidget`"


def test_importing_the_package_loads_no_widget():
    program = "import sys, mnist_helpers; print([n for n in sys.modules if 'widget' in n])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
