"""The project's own files: one address, the same dependencies everywhere, true links."""

import re
import tomllib
from pathlib import Path

import links

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES_ON_CONDA = {"torch": "pytorch"}


def requirement(line):
    name, _, version = line.partition(">=")
    return NAMES_ON_CONDA.get(name, name), version


def test_links_badges_and_colab_cells_follow_from_pyproject():
    for path in links.linked_files():
        text = path.read_text(encoding="utf-8")
        assert links.with_links(text) == text, f"{path.name}: run `make links`"


def test_a_new_address_reaches_every_kind_of_link(monkeypatch, tmp_path):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    new = text.replace(PROJECT["urls"]["Repository"], "https://github.com/someone/lessons")
    (tmp_path / "pyproject.toml").write_text(new, encoding="utf-8")
    monkeypatch.setattr(links, "ROOT", tmp_path)
    old = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    text_files = ROOT / "README.md", ROOT / "docs" / "blocked_download.md"
    for path in (*text_files, ROOT / "notebooks" / "01_data.ipynb"):
        changed = links.with_links(path.read_text(encoding="utf-8"))
        assert "someone/lessons" in changed
        assert old not in changed
        assert f"cd {old.split('/')[1]}" not in changed


def test_conda_and_pip_ask_for_the_same():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    on_conda = {requirement(line) for line in re.findall(r"^  - ([a-z-]+>=[\d.]+)$", text, re.M)}
    optional = PROJECT["optional-dependencies"]
    extras = [*optional["draw"], *optional["test"]]
    on_pip = {requirement(line) for line in [*PROJECT["dependencies"], *extras]}
    python = ("python", PROJECT["requires-python"].removeprefix(">="))
    assert on_conda == on_pip | {python}
    assert "conda-forge" in text
    assert "- -e ." in text


def test_dependencies_have_ranges_and_no_pins():
    optional = PROJECT["optional-dependencies"]
    extras = [*optional["draw"], *optional["test"], *optional["browser"]]
    for line in [*PROJECT["dependencies"], *extras]:
        assert re.fullmatch(r"[a-z-]+>=[\d.]+", line)


def test_a_release_pins_every_link_and_a_push_opens_main():
    for path in links.linked_files():
        text = path.read_text(encoding="utf-8")
        pinned = links.with_links(text, "v9.9.9")
        assert "/blob/main/" not in pinned
        assert links.with_links(pinned) == text
    assert "@v9.9.9" in pinned


def test_the_readmes_layout_names_what_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    layout = re.search(r"## The repository\n\n```\n(.*?)```", text, re.S)[1]
    names = {name for name in re.findall(r"[\w.]+(?:\.py|\.toml|\.yml|\.md|/)", layout)}
    package = ROOT / "mnist_helpers"
    for path in (*package.glob("*.py"), *(p.parent for p in package.glob("*/__init__.py"))):
        name = f"{path.name}/" if path.is_dir() else path.name
        assert name in names or path.name == "__init__.py", name
    places = (ROOT, package, ROOT / "notebooks", ROOT / "benchmarks")
    for name in names:
        assert any((place / name).exists() for place in places), name


def test_the_readme_lists_every_notebook_and_its_links_lead_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb")):
        own = path.relative_to(ROOT).as_posix()
        assert f"]({own})" in text
        assert re.search(rf"\]\(https://colab\.[^)]+/{own}\)", text)
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_readme_names_the_commands_and_each_is_a_make_target():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("run", "test", "lab"):
        assert f"make {command}" in readme
    for target in re.findall(r"make ([a-z]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_no_generated_file_over_a_megabyte():
    import subprocess

    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix != ".ipynb":
            assert path.stat().st_size < 1_000_000, name


def test_the_readmes_example_of_an_own_data_set_runs(monkeypatch, tmp_path, sample):
    import torchvision.datasets

    class FakeFashion(torchvision.datasets.MNIST):
        def __init__(self, root, train, download):
            self.transform = self.target_transform = None
            self.data = sample.train.images[:240].squeeze(1)
            self.targets = sample.train.labels[:240]

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", FakeFashion)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.S)[1]
    names = {}
    exec(example, names)
    assert len(names["history"].epochs) == names["entry"].recipe.epochs
    assert (tmp_path / "runs" / "fashion" / "checkpoint.safetensors").is_file()
