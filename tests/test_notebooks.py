"""The notebooks as data: order, outputs, links, form. nbval executes them; see pyproject.toml."""

import ast
import functools
import re
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
# Not what JupyterLab keeps in hidden folders.
PATHS = sorted(
    path
    for path in ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
MAIN = [path for path in PATHS if path.parent.name == "notebooks"]
IDS = [str(path.relative_to(ROOT / "notebooks")) for path in PATHS]
ROOMS = {path.stem for path in (ROOT / "mnist_helpers").glob("*") if path.stem[0] != "_"}
NUMBER_OF_ONE_RUN = re.compile(r"9\d\.\d+ ?%")


@functools.cache
def read(path):
    return nbformat.read(path, as_version=4)


def cells(path, kind=None):
    return [cell for cell in read(path).cells if kind in (None, cell.cell_type)]


def outputs(path):
    return [output for cell in cells(path, "code") for output in cell.outputs]


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


@pytest.fixture(params=PATHS, ids=IDS)
def path(request):
    return request.param


def test_there_are_twelve_notebooks_and_a_solution_for_each():
    names = [path.name for path in MAIN]
    assert [name[:2] for name in names] == [f"{number:02}" for number in range(1, 13)]
    assert sorted(p.name for p in PATHS if p.parent.name == "solutions") == names


def test_cells_were_executed_in_order(path):
    counts = [cell.execution_count for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


def test_no_error_no_warning_no_widget_in_the_outputs(path):
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_the_committed_outputs_are_of_full_mnist(path):
    text = "".join(output.get("text", "") for output in outputs(path))
    assert "SAMPLE" not in text
    assert "sample/" not in text


def test_every_figure_has_alternative_text(path):
    for output in outputs(path):
        if "image/png" in output.get("data", {}):
            assert len(output.metadata["image/png"]["alt"]) > 20


def test_form_of_the_cells(path):
    code = cells(path, "code")
    lengths = [len(lines(cell)) for cell in code]
    assert statistics.median(lengths) <= 6
    assert max(lengths) <= 25
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 88


def test_almost_every_code_cell_comes_right_after_its_explanation(path):
    kinds = [cell.cell_type for cell in cells(path)]
    after_text = [a == "markdown" for a, b in pairwise(kinds) if b == "code"]
    assert sum(after_text) >= 0.85 * len(after_text)


def test_the_file_is_small(path):
    assert path.stat().st_size < 700_000


def test_prose_quotes_no_result_of_one_run(path):
    for cell in cells(path, "markdown"):
        allowed = cell.source.replace("99.9 %", "").replace("99.85 %", "")
        if "cannot be told apart" in allowed:  # two made-up numbers, compared
            continue
        assert not NUMBER_OF_ONE_RUN.search(allowed), cell.source


def test_the_colab_cell_is_the_same_everywhere_and_the_first(path):
    first = cells(path, "code")[0].source
    assert first == cells(MAIN[0], "code")[0].source
    assert '"google.colab" in sys.modules' in first
    assert "--no-deps" in first


def test_it_asks_colab_for_a_gpu_and_jupyterlab_for_python(path):
    metadata = read(path).metadata
    assert metadata.accelerator == "GPU"
    assert metadata.colab.gpuType == "T4"
    # What JupyterLab would write: else opening the file marks it as changed.
    assert metadata.kernelspec.name == "python3"
    assert metadata.kernelspec.display_name == "Python 3 (ipykernel)"
    assert metadata.language_info.name == "python"


def test_relative_links_lead_to_files(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
            if not target.startswith("http"):
                assert (path.parent / target).is_file(), target


def test_the_badges_open_this_very_file(path):
    own = path.relative_to(ROOT).as_posix()
    badges = next(c.source for c in cells(path, "markdown") if "colab-badge.svg" in c.source)
    assert re.search(rf"\]\(https://colab\.[^)]+/{own}\)", badges)
    assert re.search(rf"\]\(https://mybinder\.org/[^)]+lab/tree/{own}\)", badges)


@pytest.mark.parametrize("path", MAIN, ids=[path.name for path in MAIN])
def test_every_lesson_has_its_parts(path):
    texts = [cell.source for cell in cells(path, "markdown")]
    whole = "\n".join(texts)
    assert texts[0].startswith(f"# {path.name[:2]} · ")
    assert "**What you will learn**" in texts[1]
    assert "**Run time:**" in texts[1]
    for heading in ("## Summary", "## Exercises", "## Next"):
        assert heading in whole
    goals = re.findall(r"^- ", texts[1], flags=re.M)
    assert 3 <= len(goals) <= 5
    exercises = whole.split("## Exercises")[1].split("[Solutions]")[0]
    assert 3 <= len(re.findall(r"^\d\. ", exercises, flags=re.M)) <= 5
    assert "*Predict first" in exercises
    assert "*Code.*" in exercises


@pytest.mark.parametrize("path", MAIN, ids=[path.name for path in MAIN])
def test_the_solutions_answer_every_exercise(path):
    whole = "\n".join(cell.source for cell in cells(path, "markdown"))
    exercises = re.findall(r"^(\d)\. ", whole.split("## Exercises")[1], flags=re.M)
    solution = path.parent / "solutions" / path.name
    answers = "\n".join(cell.source for cell in cells(solution, "markdown"))
    assert re.findall(r"^## (\d) · ", answers, flags=re.M) == exercises


CORE = [path for path in MAIN if path.name < "06"]


def checks(path):
    """The cells that check an answer, with what they printed."""
    found = [cell for cell in cells(path, "code") if "mh.check(" in cell.source]
    return {cell.source: "".join(o.get("text", "") for o in cell.outputs) for cell in found}


@pytest.mark.parametrize("path", CORE, ids=[path.name for path in CORE])
def test_each_exercise_has_a_hint_and_a_check_that_the_solution_passes(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    exercises = text.split("## Exercises")[1].split("[Solutions]")[0]
    count = len(re.findall(r"^\d\. ", exercises, flags=re.M))
    assert exercises.count("<details>") == exercises.count("</details>") == count
    asked, solved = checks(path), checks(path.parent / "solutions" / path.name)
    assert list(asked) == list(solved)
    assert len(asked) >= count
    for source, printed in asked.items():
        assert set(printed.splitlines()) == {"Not filled in yet."}, source
        assert set(solved[source].splitlines()) == {"Right."}, source
    # Folded, in JupyterLab and in Colab: a check shows a way to the answer. Nothing else is.
    for cell in cells(path, "code"):
        folded = {"cellView": "form", "jupyter": {"source_hidden": True}}
        assert cell.metadata == (folded if "mh.check(" in cell.source else {}), cell.source


def test_checked_outputs_are_there_to_be_compared(path):
    for cell in cells(path, "code"):
        if "# NBVAL_CHECK_OUTPUT" in cell.source:
            assert cell.outputs, cell.source


def test_every_helper_used_is_a_public_one(path):
    import mnist_helpers as mh

    for cell in cells(path, "code"):
        if "%pip" in cell.source:
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "mh":
                assert node.attr in {*mh.__all__, *ROOMS}
