"""drawing.py: strokes in, an answer out. The page itself is tested in test_browser.py."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("anywidget")
import mnist_helpers as mh
from mnist_helpers.handwriting import drawing
from mnist_helpers.handwriting.digits import digit_from_image
from mnist_helpers.handwriting.drawing import DrawingPad
from mnist_helpers.handwriting.paper import draw_strokes
from traitlets import TraitError

ONE = [[[0.5, 0.2], [0.5, 0.8]]]
MINUS = [[[0.2, 0.5], [0.8, 0.5]]]


class Tall(nn.Module):
    """Calls what is tall 1, and all else 0, with a probability of e^5 / (e^5 + 9) = 94 %."""

    def forward(self, images):
        rows, columns = images.amax(3) > 0, images.amax(2) > 0
        return 5 * torch.eye(10)[(rows.sum((1, 2)) > columns.sum((1, 2))).long()]


def assert_no_answer(pad, message):
    assert (pad.message, pad.image, pad.seen, pad.probabilities) == (message, None, [], [])


def test_strokes_become_an_image_probabilities_and_an_answer():
    pad = DrawingPad(Tall(), strokes=ONE)
    expected = digit_from_image(255 - draw_strokes(ONE)).image
    assert pad.drawing.shape == (280, 280)
    assert torch.equal(pad.image, expected)
    assert pad.seen == expected.flatten().tolist()
    np.testing.assert_allclose(pad.probabilities, mh.predict(Tall(), expected[None])[0])
    assert pad.message == "1, 94 %"
    pad.strokes = MINUS
    assert pad.message == "0, 94 %"
    pad.strokes = []
    for empty in (pad, DrawingPad(Tall())):
        assert_no_answer(empty, "Draw a digit.")
        assert empty.drawing.shape == (280, 280)
        assert not empty.drawing.any()


@pytest.mark.parametrize(
    ("temperature", "threshold", "message"),
    [
        (1.0, 0.9, "1, 94 %"),
        (1.0, 0.95, "not sure: 1 or 0, 94 %"),
        (2.0, 0.9, "not sure: 1 or 0, 58 %"),  # e^2.5 / (e^2.5 + 9)
    ],
)
def test_certainty_decides_how_sure_the_answer_is(temperature, threshold, message):
    certainty = mh.Certainty(temperature, threshold)
    assert DrawingPad(Tall(), certainty, strokes=ONE).message == message


def test_what_is_no_digit_gets_its_reason_and_errors_of_the_model_are_not_hidden(monkeypatch):
    def refuse(image):
        raise drawing.DigitNotFound("the ink touches the edge")

    with pytest.raises(RuntimeError):
        DrawingPad(nn.Linear(3, 10), strokes=ONE)
    pad = DrawingPad(Tall(), strokes=ONE)
    monkeypatch.setattr(drawing, "digit_from_image", refuse)
    pad.strokes = MINUS
    assert_no_answer(pad, "the ink touches the edge")
    assert pad.drawing.any()


def test_a_stroke_may_reach_the_edge():
    """The one that does is the digit, not the dot beside it."""
    dot = [(0.2, 0.2), (0.21, 0.21)]
    pad = DrawingPad(Tall(), strokes=[[(0.5, 0.1), (0.5, 1.0)], dot])
    alone = DrawingPad(Tall(), strokes=[[(0.5, 0.1), (0.5, 1.0)]])
    assert pad.image.equal(alone.image)


def test_a_thicker_pen_leaves_more_ink_and_stays_in_range():
    pad = DrawingPad(Tall(), strokes=ONE, thickness=10)
    thin = pad.drawing.sum()
    pad.thickness = 40
    assert pad.drawing.sum() > 3 * thin
    for asked, kept in ((1, 4), (10**9, 60), (-5, 4)):
        pad.thickness = asked
        assert pad.thickness == kept
    assert DrawingPad(Tall(), strokes=[[(0.5, 0.5)]], thickness=4).message  # a dot is no error


@pytest.mark.parametrize("strokes", [7, "77", [7], [(0.2, 0.3)], [[(0.2, 0.3, 0.4)]]])
def test_what_is_not_strokes_is_refused(strokes):
    pad = DrawingPad(Tall(), strokes=ONE)
    with pytest.raises(TraitError):
        pad.strokes = strokes
    assert pad.strokes == ONE


def test_strokes_become_at_most_3000_points_on_the_paper_that_json_can_hold():
    pad = DrawingPad(Tall(), strokes=(np.float32([(0.5, 0.25), (0.5, 0.75)]),))
    assert json.dumps(pad.strokes) == "[[[0.5, 0.25], [0.5, 0.75]]]"
    pad.strokes = [[(0.5, 0.2), (np.nan, 0.4), (0.5, np.inf), (0.5, 3)], [(np.nan, 0)], []]
    assert pad.strokes == [[[0.5, 0.2], [0.5, 1.0]]]
    pad.strokes = [[(0.1, 0.1)] * 2_000, [(0.2, 0.2)] * 2_000, [(0.3, 0.3)]]
    assert [len(stroke) for stroke in pad.strokes] == [2_000, 1_000]
    assert_no_answer(pad, drawing.FULL)


def test_the_page_gets_an_answer_in_one_message_and_its_bad_points_put_right(monkeypatch):
    pad, sent = DrawingPad(Tall()), []
    monkeypatch.setattr(pad.comm, "send", lambda data, **_: sent.append(data["state"]))
    pad.set_state({"strokes": ONE})
    answer = [state for state in sent if "message" in state]
    seen = pad.image.flatten().tolist()
    assert answer == [{"message": "1, 94 %", "seen": seen, "probabilities": pad.probabilities}]
    json.dumps(answer, allow_nan=False)
    pad.set_state({"strokes": [[[0.5, 0.2], [None, 0.4], [0.5, 0.8]]]})
    assert pad.strokes == ONE
    pad.set_state({"strokes": [[[0.5, 0.5]] * 4_000], "thickness": 10**6})
    last = {name: value for state in sent for name, value in state.items()}
    assert last["strokes"] == pad.strokes
    assert last["thickness"] == pad.thickness == 60
    assert last["message"] == drawing.FULL


def test_pads_share_no_state_and_leave_the_model_as_it_was(make_tiny):
    model = make_tiny(dropout=0.5).train()
    first, second = DrawingPad(model, strokes=ONE), DrawingPad(make_tiny(1))
    assert second.strokes == []
    second.strokes = ONE
    assert second.probabilities != first.probabilities
    answer = first.message
    first.strokes = MINUS
    first.strokes = ONE
    assert first.message == answer
    assert model.training


def test_without_widgets_one_line_tells_the_answer_and_where_to_draw():
    data, _ = DrawingPad(Tall(), strokes=ONE)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert re.fullmatch(".*1, 94 %.*JupyterLab.*", data["text/plain"])


def test_the_page_loads_nothing_from_elsewhere():
    script = str(DrawingPad._esm)
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\b|\bfetch\b|@import|url\(", script)
    assert 'min="4" max="60"' in script
    assert drawing.THICKNESS == (4, 60)
    assert f"SIZE = {drawing.SIZE};" in script


def test_without_anywidget_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "mnist_helpers.handwriting.drawing")
    with pytest.raises(ImportError) as caught:
        import mnist_helpers.handwriting.drawing  # noqa: F401
    assert str(caught.value) == "the drawing pad needs anywidget: run `pip install anywidget`"


@pytest.mark.slow
def test_importing_the_package_loads_no_widget():
    program = "import sys, mnist_helpers; print([n for n in sys.modules if 'widget' in n])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
