"""JupyterLab in a real browser: the lessons run to their end, and the pad reads what is drawn."""

import contextlib
import json
import os
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
import pytest

ROOT = Path(__file__).parent.parent
LESSONS = sorted(ROOT.glob("notebooks/0[1-5]_*.ipynb"))
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
from mnist_helpers.drawing import DrawingPad

class Tall(torch.nn.Module):
    def forward(self, images):
        rows, columns = images.amax(3) > 0, images.amax(2) > 0
        return 10 * torch.eye(10)[(rows.sum((1, 2)) > columns.sum((1, 2))).long()]

pad = DrawingPad(Tall())
"""
STATE = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter((cell) => cell.model.type === "code")
    .map((cell) => ({
        prompt: cell.node.querySelector(".jp-InputPrompt").textContent.trim(),
        errors: cell.model.outputs.toJSON().filter((output) => output.output_type === "error"),
    }))"""
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


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("needs Playwright: pip install playwright")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = [path for path in map(shutil.which, BROWSERS) if path]
        found += [own] if Path(own).exists() else []
        if not found:
            missing("needs Chromium or Chrome: playwright install chromium")
        browser = playwright.chromium.launch(
            executable_path=found[0], args=["--no-sandbox"] if root else []
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab on a copy of the notebooks, with settings of its own: (folder, url, token)."""
    home = tmp_path_factory.mktemp("lab")
    folder, token = home / "notebooks", secrets.token_hex(16)
    folder.mkdir()
    for path in ROOT.glob("notebooks/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:  # else the committed run would look like this one
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    variables = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
        "MNIST_SOURCE": "sample",
        "TQDM_DISABLE": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
                *(f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"),
                *("--LabApp.extension_manager=readonly", "--LabApp.news_url="),
                "--expose-app-in-browser",
            ],
            env={**os.environ, **{name: str(value) for name, value in variables.items()}},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield folder, served_url(server, home), token
    finally:
        stop(server)


def served_url(server, home, seconds=120):
    """Where the server answers, as it tells in its own file: it may have taken another port."""
    for _ in range(10 * seconds):
        if server.poll() is not None:
            break
        for path in (home / "runtime").glob(f"jpserver-{server.pid}.json"):
            try:
                url = json.loads(path.read_text(encoding="utf-8"))["url"]
                urllib.request.urlopen(f"{url}api", timeout=10).close()
            except (OSError, ValueError):  # half written, or not listening yet
                continue
            return url
        time.sleep(0.1)
    stop(server)
    pytest.fail("JupyterLab does not answer:\n" + (home / "log.txt").read_text()[-2_000:])


def stop(server):
    """Let the server end its kernels; then end whatever is left of its processes."""
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def run_all(browser, lab):
    """Open a notebook, run all its cells, and give the page; nothing is fetched from outside."""
    from playwright.sync_api import expect

    expect.set_options(timeout=120_000)
    folder, url, token = lab
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())

    def run(name):
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{url}lab/tree/{name}?reset&token={token}")
        code = [c for c in nbformat.read(folder / name, 4).cells if c.cell_type == "code"]
        expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(len(code))
        page.get_by_text("| Idle").wait_for()  # else the menu would act on nothing yet
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        wait_for_all_cells(page, name)
        return page

    yield run
    context.close()
    headers = {"Authorization": f"token {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}api/kernels", headers=headers)) as f:
        kernels = json.load(f)
    for kernel in kernels:
        address = f"{url}api/kernels/{kernel['id']}"
        request = urllib.request.Request(address, headers=headers, method="DELETE")
        urllib.request.urlopen(request).close()


def wait_for_all_cells(page, name):
    """Until each code cell has its number; fail with the name of the cell that did not get it."""
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        cells = page.evaluate(STATE)
        for number, cell in enumerate(cells, start=1):
            for error in cell["errors"]:
                pytest.fail(f"{name}, code cell {number}: {error['ename']}: {error['evalue']}")
        if cells and all(re.fullmatch(r"\[\d+\]:", cell["prompt"]) for cell in cells):
            assert [cell["prompt"] for cell in cells] == [f"[{n + 1}]:" for n in range(len(cells))]
            return
        page.wait_for_timeout(300)
    waiting = [n for n, cell in enumerate(cells, start=1) if not re.search(r"\d", cell["prompt"])]
    pytest.fail(f"{name}, code cell {waiting[0]}: not done after {MINUTES} minutes")


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


@pytest.mark.parametrize("path", LESSONS, ids=[path.name for path in LESSONS])
def test_a_lesson_runs_in_jupyterlab(run_all, path):
    run_all(path.name)


def test_the_pad_of_notebook_09_reads_what_is_drawn(run_all):
    page = run_all("09_handwriting.ipynb")
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
    clear.click()
    expect_answer(pad, "Draw a digit")
    paper.focus()
    for key in [*["ArrowUp"] * 8, " ", *["ArrowDown"] * 16, " "]:
        page.keyboard.press(key)
    expect_answer(pad, r"\d")  # a bar may be a 1 or a 7


@pytest.fixture
def two_views(run_all, lab):
    """A page with a pad shown twice."""
    cells = [nbformat.v4.new_code_cell(source) for source in (TALL_OR_NOT, "pad", "pad")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab[0] / "two_views.ipynb")
    page = run_all("two_views.ipynb")
    return page, page.locator(".mnist-pad").nth(0), page.locator(".mnist-pad").nth(1)


def test_two_views_of_a_pad_show_the_same(two_views):
    page, first, second = two_views
    draw(page, first.locator(".mnist-pad-paper"), [[(0.5, 0.2), (0.5, 0.8)]])
    expect_answer(second, 1)
    inks = [pad.locator(".mnist-pad-paper").evaluate("c => c.toDataURL()") for pad in two_views[1:]]
    assert inks[0] == inks[1]
    second.get_by_role("button", name="Clear").click()
    expect_answer(first, "Draw a digit")


def test_the_pad_keeps_the_keys_that_it_uses_and_leaves_the_others_to_jupyter(two_views):
    page, pad, _ = two_views
    pad.locator(".mnist-pad-paper").click()
    selected = page.locator(".jp-Cell.jp-mod-selected .jp-InputPrompt")
    assert selected.inner_text() == "[2]:"
    for keys, answer in ((["ArrowRight"] * 9, 0), (["ArrowDown"] * 9, 1)):
        page.keyboard.press("Escape")
        expect_answer(pad, "Draw a digit")
        for key in ["Enter", *keys, "Enter"]:
            page.keyboard.press(key)
        expect_answer(pad, answer)
    pad.locator(".mnist-pad-thickness").focus()
    page.keyboard.press("ArrowUp")
    assert pad.locator(".mnist-pad-thickness").input_value() == "23"
    assert selected.inner_text() == "[2]:"
    cells = page.locator(".jp-Cell").count()
    pad.locator(".mnist-pad-paper").focus()
    page.keyboard.press("b")  # Jupyter's: a new cell below
    assert page.locator(".jp-Cell").count() == cells + 1


@pytest.fixture
def bare(browser):
    """A page with nothing but the pad; window.state has what it told Python."""
    context = browser.new_context(has_touch=True)
    page = context.new_page()
    page.evaluate(BARE, (ROOT / "mnist_helpers" / "pad.js").read_text(encoding="utf-8"))
    yield page
    context.close()


def test_many_points_make_few_messages(bare):
    draw(bare, bare.locator(".mnist-pad-paper"), SEVEN, steps=60)
    [stroke] = bare.evaluate("state.strokes")
    saves, milliseconds = bare.evaluate("[saves, performance.now() - start]")
    assert len(stroke) > 50
    assert all(0 <= value <= 1 for point in stroke for value in point)
    assert 1 <= saves <= milliseconds / 100 + 2


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


def test_a_closed_pad_leaves_no_listener(bare):
    assert bare.evaluate("heard.size") == 5
    bare.evaluate("leave()")
    draw(bare, bare.locator(".mnist-pad-paper"), SEVEN)
    bare.locator(".mnist-pad-paper").press("Enter")
    assert bare.evaluate("[heard.size, saves, state.strokes.length]") == [0, 0, 0]
