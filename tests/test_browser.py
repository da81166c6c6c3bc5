"""A real browser: a lesson runs in JupyterLab, the pad reads what is drawn, and so does a page."""

import base64
import contextlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import mnist_helpers as mh
import nbformat
import numpy as np
import psutil
import pytest
import torch
from mnist_helpers.deployment import export_html, web_page
from mnist_helpers.handwriting import digit_strokes, digits_from_image, read_digits
from mnist_helpers.models import named_model
from PIL import Image
from scipy.interpolate import make_interp_spline

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LESSON, PAD = "05_prediction.ipynb", "09_handwriting.ipynb"
CHANGED = ".lm-TabBar-tab.jp-mod-dirty"  # the tab of a notebook that is not saved
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MINUTES = 10  # for one notebook, on a slow machine
SETTINGS = {
    # All cells stay in the page: those out of sight are looked at too.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
SEVEN = [[(0.25, 0.22), (0.72, 0.22), (0.6, 0.5), (0.45, 0.82)]]
THREE = [
    [(0.3, 0.25), (0.45, 0.17), (0.6, 0.2), (0.67, 0.32), (0.6, 0.44), (0.46, 0.49)],
    [(0.46, 0.49), (0.6, 0.54), (0.69, 0.65), (0.63, 0.79), (0.48, 0.85), (0.3, 0.78)],
]
# A pad whose model needs no training: it calls what is tall 1, and all else 0.
TALL_OR_NOT = """
import torch
from mnist_helpers.handwriting.drawing import DrawingPad

class Tall(torch.nn.Module):
    def forward(self, images):
        rows, columns = images.amax(3) > 0, images.amax(2) > 0
        return 10 * torch.eye(10)[(rows.sum((1, 2)) > columns.sum((1, 2))).long()]

pad = DrawingPad(Tall())
"""
# pad.js in an empty page, with a model of the widget that only counts.
BARE = """async (source) => {
    const file = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    const pad = (await import(file)).default;
    const state = {strokes: [], thickness: 22, seen: [], probabilities: [], message: ""};
    const heard = new Set();
    Object.assign(window, {state, heard, saves: 0, start: performance.now()});
    const model = {
        get: (name) => state[name],
        set: (name, value) => { state[name] = value; },
        save_changes: () => { window.saves += 1; },
        on: (name) => heard.add(name),
        off: (name) => heard.delete(name),
    };
    window.leave = pad.render({model, el: document.body});
}"""
# What the script of an exported page has, for the tests; it is a module, so hides it all.
LAST = "const place = document"
OPENED = "Object.assign(window, {run, read, distance, inkOf, digitsOf, cutOut, asMnist, NETWORK});"
LOGITS = """text => {
    const pixels = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const starts = Array.from({length: pixels.length / 784}, (_, i) => 784 * i);
    return starts.map((at) => run(NETWORK, pixels.subarray(at, at + 784)).logits);
}"""
# Of each drawing its raster, as the pad's grey values, and the box, pixels, certainty of digits.
READ = """drawings => drawings.map(([strokes, pen]) => {
    const ink = inkOf(strokes, pen);
    const letter = (value) => String.fromCharCode(255 - Math.round(233 * value));
    const digits = digitsOf(ink).map((digit) => {
        const image = asMnist(cutOut(ink, digit));
        const { left, top, right, bottom } = digit;
        return {box: [left, top, right, bottom], image, ...read(NETWORK, image)};
    });
    return [btoa(Array.from(ink.data, letter).join("")), digits];
})"""


def missing(reason):
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


def kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def ended(request):
    """Ctrl-C, or a request to end, first ends all that these tests started."""

    def end(*_):
        kill(psutil.Process().children(recursive=True))
        request.session.shouldstop = "ended by a signal"  # Playwright may catch what is raised
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def browser(ended):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("needs Playwright: pip install playwright")
    args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = [*filter(None, map(shutil.which, BROWSERS)), *([own] if Path(own).exists() else [])]
        if not found:
            missing("needs Chromium or Chrome: playwright install chromium")
        with playwright.chromium.launch(executable_path=found[0], args=args) as browser:
            yield browser


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab with settings of its own: (an empty folder of notebooks, url, token)."""
    home, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    for name, values in SETTINGS.items():
        path = home / "config/lab/user-settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    variables = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "MNIST_SOURCE": "sample",
        "TQDM_DISABLE": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder := home / "notebooks").mkdir()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"),
        *("--LabApp.extension_manager=readonly", "--LabApp.news_url="),
    ]
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            url, end = f"http://127.0.0.1:{port}/", time.monotonic() + 120
            while not answers(url):
                if server.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"no JupyterLab:\n{(home / 'log.txt').read_text()[-2_000:]}")
                time.sleep(0.1)
            yield folder, url, token
        finally:
            stop(server)


def answers(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}api", timeout=10):
        return True


def stop(server):
    """Let the server end its kernels; then end whatever is left of its processes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(server.pid).children(recursive=True)  # kernels lead their own group
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        kill([server, *family])
    server.wait()


@pytest.fixture
def run_all(browser, lab):
    """Open a notebook, run all its cells, and give the page; nothing is fetched from outside."""
    from playwright.sync_api import expect

    expect.set_options(timeout=120_000)
    folder, url, token = lab
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())

    def run(name, notebook):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for cell in code:  # else the committed run would look like this one
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("jupyter", None)  # a folded cell shows no number
        nbformat.write(notebook, folder / name)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{url}lab/tree/{name}?reset&token={token}")
        expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(len(code))
        page.get_by_text("| Idle").wait_for()  # else the menu would act on nothing yet
        if notebook.metadata.get("language_info", {}).get("version") == platform.python_version():
            page.wait_for_timeout(3_000)  # opening what this very Python wrote changes nothing
            assert page.locator(CHANGED).count() == 0
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        failed = page.locator(".jp-OutputArea-output", has_text="Traceback (most recent call last)")
        last = page.locator(".jp-InputPrompt", has_text=f"[{len(code)}]:")
        last.or_(failed).first.wait_for(state="attached", timeout=60_000 * MINUTES)
        assert failed.all_inner_texts() == []
        prompts = [f"[{number}]:" for number in range(1, len(code) + 1)]
        expect(page.locator(".jp-CodeCell .jp-InputPrompt")).to_have_text(prompts)
        return page

    yield run
    context.close()


def draw(page, paper, strokes, steps=8):
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=steps)
        page.mouse.up()


def expect_answer(pad, start, wait=500):
    """The answer begins so, sure or not, and still does after a while, in milliseconds."""
    from playwright.sync_api import expect

    for _ in range(2):
        answer = pad.locator(".mnist-pad-answer")
        expect(answer).to_have_text(re.compile(rf"^(not sure: )?{start}\b"))
        pad.page.wait_for_timeout(wait)


def test_a_lesson_runs_in_jupyterlab(run_all):
    run_all(LESSON, nbformat.read(ROOT / "notebooks" / LESSON, 4))


def test_the_pad_of_notebook_09_reads_what_is_drawn(run_all):
    page = run_all(PAD, nbformat.read(ROOT / "notebooks" / PAD, 4))
    pad = page.locator(".mnist-pad").first
    paper, clear = pad.locator(".mnist-pad-paper"), pad.get_by_role("button", name="Clear")
    for digit, strokes in ((7, SEVEN), (3, THREE)):
        clear.click()
        expect_answer(pad, "Draw a digit")
        draw(page, paper, strokes)
        expect_answer(pad, digit)
        shares = re.findall(r"(\d+) %", pad.locator(".mnist-pad-bars").inner_text())
        assert len(shares) == 10
        assert int(shares[digit]) == max(map(int, shares))


def test_two_views_of_a_pad_show_the_same_and_it_keeps_only_the_keys_that_it_uses(run_all):
    cells = [nbformat.v4.new_code_cell(source) for source in (TALL_OR_NOT, "pad", "pad")]
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    page = run_all("two_views.ipynb", notebook)
    pad, second = (page.locator(".mnist-pad").nth(number) for number in (0, 1))
    papers = [view.locator(".mnist-pad-paper") for view in (pad, second)]
    draw(page, papers[0], [[(0.5, 0.2), (0.5, 0.8)]])
    expect_answer(second, 1)
    first_ink, second_ink = (paper.evaluate("c => c.toDataURL()") for paper in papers)
    assert first_ink == second_ink
    second.get_by_role("button", name="Clear").click()
    expect_answer(pad, "Draw a digit")
    papers[0].click()
    selected = page.locator(".jp-Cell.jp-mod-selected .jp-InputPrompt")
    assert selected.inner_text() == "[2]:"
    for keys, answer in ((["ArrowRight"] * 9, 0), (["ArrowDown"] * 9, 1)):
        page.keyboard.press("Escape")
        expect_answer(pad, "Draw a digit")
        for key in [" ", *keys, "Enter"]:
            page.keyboard.press(key)
        expect_answer(pad, answer)
    pad.locator(".mnist-pad-thickness").focus()
    page.keyboard.press("ArrowUp")
    assert pad.locator(".mnist-pad-thickness").input_value() == "23"
    assert selected.inner_text() == "[2]:"
    papers[0].focus()
    page.keyboard.press("b")  # Jupyter's: a new cell below
    assert page.locator(".jp-Cell").count() == 4


@pytest.fixture
def bare(browser):
    """A page with nothing but the pad; window.state has what it told Python."""
    context = browser.new_context(has_touch=True)
    page = context.new_page()
    page.evaluate(
        BARE, (ROOT / "mnist_helpers" / "handwriting" / "pad.js").read_text(encoding="utf-8")
    )
    yield page
    context.close()


def test_many_points_make_few_messages_and_a_closed_pad_leaves_no_listener(bare):
    paper = bare.locator(".mnist-pad-paper")
    draw(bare, paper, SEVEN, steps=60)
    [stroke] = bare.evaluate("state.strokes")
    saves, milliseconds = bare.evaluate("[saves, performance.now() - start]")
    assert len(stroke) > 50
    assert all(0 <= value <= 1 for point in stroke for value in point)
    assert 1 <= saves <= milliseconds / 100 + 2
    assert bare.evaluate("heard.size") == 5
    bare.evaluate("leave()")
    saves = bare.evaluate("saves")
    draw(bare, paper, SEVEN)
    paper.press("Enter")
    assert bare.evaluate("[heard.size, saves, state.strokes.length]") == [0, saves, 1]


def test_a_stroke_ends_at_the_edge_of_the_paper(bare):
    draw(bare, bare.locator(".mnist-pad-paper"), [[(0.5, 0.5), (1.3, 0.5), (1.3, 0.8), (0.5, 0.8)]])
    first, second = bare.evaluate("state.strokes")
    assert {y for _, y in first} == {0.5}
    assert {y for _, y in second} == {0.8}


def test_a_finger_draws_and_a_second_one_does_not_disturb(bare):
    box = bare.locator(".mnist-pad-paper").bounding_box()
    touch = bare.context.new_cdp_session(bare)
    fingers = [{"x": box["x"] + 50, "y": box["y"] + 50, "id": 1}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    fingers.append({"x": box["x"] + 200, "y": box["y"] + 50, "id": 2})
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    for _ in range(10):
        fingers = [{**finger, "y": finger["y"] + 15} for finger in fingers]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": fingers})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    [stroke] = bare.evaluate("state.strokes")
    assert stroke[-1][1] - stroke[0][1] == pytest.approx(150 / 280, abs=0.02)
    assert max(x for x, _ in stroke) == pytest.approx(50 / 280, abs=0.01)


@pytest.fixture
def open_page(browser, tmp_path):
    """Open an exported page from its file; it asks for nothing else, and nothing goes wrong."""
    asked, wrong, contexts = [], [], []
    path = tmp_path / "digits.html"

    def opened(html, **settings):
        assert html.count(LAST) == 1
        path.write_text(html.replace(LAST, OPENED + LAST), encoding="utf-8")
        contexts.append(browser.new_context(offline=True, **settings))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        page.locator(".mnist-pad").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert set(asked) <= {path.as_uri()}
    assert wrong == []


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    """A model that was trained on the sample in seconds, its certainty, and its page."""
    folder = tmp_path_factory.mktemp("run")
    mh.load_or_train("pen", sample, folder)
    model, run = mh.load_run(folder)
    export_html(folder / "digits.html", model, run)
    return model, run.certainty, (folder / "digits.html").read_text(encoding="utf-8")


def read_by_page(page, drawings):
    """For each drawing, its raster, uint8 `[H, W]`, and what the page makes of its digits."""
    answers = []
    for first in range(0, len(drawings), 20):
        answers += page.evaluate(READ, drawings[first : first + 20])
    rasters = [np.frombuffer(base64.b64decode(text), np.uint8) for text, _ in answers]
    side = round(rasters[0].size ** 0.5)
    rasters = [raster.reshape(side, side) for raster in rasters]
    return list(zip(rasters, [digits for _, digits in answers], strict=True))


def scribble(rng):
    """A smooth line through eight random points."""
    points = make_interp_spline(range(8), rng.uniform(0.1, 0.9, (8, 2)))(np.linspace(0, 7, 99))
    return points.clip(0.05, 0.95).round(4).tolist()


def moved(strokes, left, top, size):
    """The strokes, smaller, at another place."""
    return [[(left + size * x, top + size * y) for x, y in stroke] for stroke in strokes]


@pytest.mark.parametrize("name", sorted({entry.build.__name__ for entry in mh.ZOO.values()}))
def test_a_network_in_the_page_gives_the_logits_of_torch(open_page, sample, name):
    if name == "vgg":
        pytest.skip("too large for a page: megabytes")
    model, generator = named_model(name), torch.Generator().manual_seed(0)
    images = sample.test.images[: 10 if name == "record" else 100]
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3, generator=generator)
                for factor in (layer.running_var, layer.weight):
                    factor.uniform_(0.5, 2, generator=generator)
                layer.bias.normal_(0, 0.3, generator=generator)
        logits = mh.predict_logits(model, images)  # far apart, unlike a fresh network's:
        model[-1].weight.div_(logits.std(dim=0)[:, None])
        model[-1].bias.copy_((model[-1].bias - logits.mean(dim=0)) / logits.std(dim=0))
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(weight.bfloat16())
    pixels = base64.b64encode(images.numpy().tobytes()).decode()
    logits = torch.tensor(open_page(web_page(model)).evaluate(LOGITS, pixels))
    expected = mh.predict_logits(model, images)
    assert len(expected.argmax(dim=1).unique()) > 3
    assert (logits - expected).abs().max() < 1e-3
    assert (logits.argmax(dim=1) == expected.argmax(dim=1)).all()


def test_the_page_prepares_a_drawing_as_python_does(open_page, make_tiny):
    rng = np.random.default_rng(0)
    drawings = []
    for number in range(200):
        if number % 5 < 3:  # a digit anywhere, in one stroke: in Python a thin loose bar is a line
            size = rng.uniform(0.3, 0.95)
            points = np.concatenate(digit_strokes(number % 10, rng)).clip(0, 1)
            stroke = (size * points + rng.uniform(0, 1 - size, 2)).round(4).tolist()
        else:
            stroke = scribble(rng)
        drawings.append(([stroke], int(rng.integers(4, 51))))
    same = 0
    for raster, digits in read_by_page(open_page(web_page(make_tiny())), drawings):
        [found], [digit] = digits_from_image(raster), digits
        away = np.abs(np.subtract(found.box, digit["box"])).max()
        assert away <= 2  # a pixel may be ink for one and paper for the other
        if away == 0:
            pixels = np.array(digit["image"]).reshape(1, 28, 28)
            assert np.abs(found.image.numpy().astype(int) - pixels).max() <= 3
            same += 1
    assert same >= 0.95 * len(drawings)


def test_the_page_is_as_sure_as_python(open_page, trained):
    model, certainty, html = trained
    rng = np.random.default_rng(1)
    drawings = [([scribble(rng)], int(rng.integers(10, 31))) for _ in range(60)]
    sure = []
    for raster, digits in read_by_page(open_page(html), drawings):
        theirs = read_digits(model, raster, certainty)
        sure.append((any(one.sure for one in theirs), any(digit["sure"] for digit in digits)))
    python, page = np.mean(sure, axis=0)
    assert abs(python - page) <= 0.05


def test_the_page_measures_pythons_distances(open_page, trained):
    _, certainty, html = trained
    assert certainty.within.shape[1] > 30
    lists = np.random.default_rng(0).uniform(0, 1, (20, len(certainty.within))).astype(np.float32)
    ours = open_page(html).evaluate(
        "lists => lists.map(seen => distance(NETWORK, Float32Array.from(seen)))", lists.tolist()
    )
    assert ours == pytest.approx(certainty.distances(torch.from_numpy(lists)).tolist(), abs=0.01)


def test_the_page_reads_what_is_drawn(open_page, trained):
    page = open_page(trained[-1])
    shows = partial(expect_answer, page.locator("body"), wait=20)
    paper, answer = page.locator(".mnist-pad-paper"), page.locator(".mnist-pad-answer")
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    assert answer.get_attribute("role") == "status"
    assert answer.get_attribute("aria-live") == "polite"
    shows("Draw a digit")
    empty = paper.evaluate("c => c.toDataURL()")
    for digit, strokes in ((7, SEVEN), (3, THREE)):
        draw(page, paper, strokes)
        shows(digit)
        shares = re.findall(r"(\d+) %", page.locator(".mnist-pad-bars").inner_text())
        assert int(shares[digit]) == max(map(int, shares))
        clear.click()
        for left, top in ((0, 0), (0.66, 0), (0, 0.66), (0.66, 0.66)):
            draw(page, paper, moved(strokes, left, top, 0.34))
            shows(digit)
            clear.click()
    draw(page, paper, moved(SEVEN, 0, 0.2, 0.6))
    shows(7)
    before = answer.inner_text(), paper.evaluate("c => c.toDataURL()")
    draw(page, paper, moved(THREE, 0.4, 0.2, 0.6))
    shows(r"7\?? 3")
    for _ in THREE:
        undo.click()
    shows(7)
    assert (answer.inner_text(), paper.evaluate("c => c.toDataURL()")) == before
    clear.click()
    shows("Draw a digit")
    assert paper.evaluate("c => c.toDataURL()") == empty
    draw(page, paper, [[(0.34, 0.2), (0.14, 0.8)], [(0.52, 0.2), (0.32, 0.8)]])
    shows(r"1\?? 1")  # slanted, so that one leans over the other
    clear.click()
    paper.focus()
    for key in [*["ArrowUp"] * 8, "Space", *["ArrowDown"] * 16, "Space"]:
        page.keyboard.press(key)
    shows(1)
    page.keyboard.press("Escape")
    for key in [*["ArrowUp"] * 16, *["down"] * 4, *["ArrowDown"] * 16]:
        page.keyboard.down("Space") if key == "down" else page.keyboard.press(key)  # held: repeats
    shows(1)


def test_the_page_fits_a_phone_and_a_finger_does_not_scroll_it(open_page, trained):
    size = {"width": 320, "height": 300}
    page = open_page(trained[-1], viewport=size, has_touch=True, is_mobile=True)
    box = page.locator(".mnist-pad-paper").bounding_box()
    touch, x, y = page.context.new_cdp_session(page), box["x"] + 140, box["y"] + 200
    for kind, place in [("Start", y), *(("Move", y - 5 * i) for i in range(1, 33)), ("End", None)]:
        points = [] if place is None else [{"x": x, "y": place}]
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    expect_answer(page.locator("body"), 1)
    assert page.evaluate("[scrollX, scrollY]") == [0, 0]
    assert page.evaluate("document.documentElement.scrollHeight") > 300
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert page.evaluate("visualViewport.scale") == 1


def test_the_page_is_dark_where_the_reader_wants_it(open_page, trained):
    page = open_page(trained[-1])
    for scheme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("L")
        colour = page.locator("h1").evaluate("h => getComputedStyle(h).color")
        text = np.mean(list(map(int, re.findall(r"\d+", colour)[:3])))
        assert (shot.getpixel((2, 2)) < 60, text > 195) == (dark, dark)
        assert (shot.getpixel((2, 2)) > 195, text < 60) == (not dark, not dark)
