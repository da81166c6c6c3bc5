"""JupyterLab in a real browser: a lesson runs to its end, and the pad reads what is drawn."""

import contextlib
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
from pathlib import Path

import nbformat
import psutil
import pytest

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


def expect_answer(pad, start):
    """The answer begins so, sure or not, and still does after a while."""
    from playwright.sync_api import expect

    for _ in range(2):
        answer = pad.locator(".mnist-pad-answer")
        expect(answer).to_have_text(re.compile(rf"^(not sure: )?{start}\b"))
        pad.page.wait_for_timeout(500)


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
