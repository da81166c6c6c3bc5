"""Build the web site into a folder: `python docs/pages.py build/site`, or `make site`.

The pages lie all over the repository. They are copied into a folder that is thrown away afterwards,
in the order of the site, with links that work there; Sphinx reads that. A warning is an error.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
MOVED = {"README": "index", "CONTRIBUTING": "contributing", "benchmarks/README": "results"}
SOURCES = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "docs/*.md", "docs/*.png")
TO_TERM = {"refdomain": "std", "reftype": "term", "refexplicit": True}
NO_PROSE = (nodes.title, nodes.reference, nodes.literal, nodes.raw, addnodes.pending_xref)


def page_of(path: str) -> str:
    """Where a file of the repository lies on the site."""
    name, ending = os.path.splitext(path.removeprefix("docs/"))
    return MOVED.get(name, name) + ending


def mended(text: str, path: str) -> str:
    """Markdown of a file with links to pages of the site, or else to the repository; no badges."""
    start = PurePosixPath(page_of(path)).parent

    def link(match: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(path).parent / match[1]).replace(os.sep, "/")
        if ":" in match[1] or not (ROOT / target).exists():
            return match[0]
        if Path(target).suffix not in {".md", ".ipynb", ".png"}:
            return f"]({ADDRESS}/blob/main/{target}"
        return "](" + os.path.relpath(page_of(target), start).replace(os.sep, "/")

    text = re.sub(r"\[!\[([^]]*)\]\(https?:[^)]*\)\](\([^)]*\))", r"[\1]\2", text)
    text = re.sub(r"\)\s\[Open in Binder", ") · [Open in Binder", text)
    return re.sub(r"\]\(([^)#\s]+)", link, text)


def stage(folder: Path) -> None:
    """Put all that becomes a page into the folder."""
    others = shutil.ignore_patterns("runs", ".ipynb_checkpoints", "*.toml")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=others)
    for path in (path for pattern in SOURCES for path in ROOT.glob(pattern)):
        target = folder / page_of(path.relative_to(ROOT).as_posix())
        shutil.copyfile(path, target)
        if path.suffix == ".md":
            text = mended(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
            target.write_text(text, encoding="utf-8")
    front = (folder / "index.md").read_text(encoding="utf-8")
    contents = (ROOT / "docs" / "contents.txt").read_text(encoding="utf-8")
    (folder / "index.md").write_text(front + contents, encoding="utf-8")
    (folder / "api").mkdir()
    for face in ROOT.glob("mnist_helpers/**/__init__.py"):
        name = face.parent.relative_to(ROOT).as_posix().replace("/", ".")
        (folder / "api" / f"{name}.md").write_text(api_page(name, face), encoding="utf-8")


def api_page(name: str, face: Path) -> str:
    """What stands on top of a package, and the docstrings of each of its modules."""
    parts, top = [], []
    on_top = face.read_text(encoding="utf-8").split('"""', 2)[2]
    for path in (face, *sorted(face.parent.glob("[!_]*.py"))):
        module = name if path == face else f"{name}.{path.stem}"
        found = re.findall(r"^(?:def|class) ([^\W_]\w*)", path.read_text(encoding="utf-8"), re.M)
        members = f"\n   :members: {', '.join(found)}" if found else ""
        parts += [f"## {path.stem}"] if path != face else []
        parts += [f"```{{eval-rst}}\n.. automodule:: {module}{members}\n```"]
        top += [f"{{py:obj}}`~{module}.{n}`" for n in found if re.search(rf"\b{n}\b", on_top)]
    return "\n\n".join([f"# {name}", "On top: " + ", ".join(top), *parts]) + "\n"


def mend_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Mend the links of a notebook as it is read; the file that can be downloaded stays."""
    if not docname.startswith("notebooks/"):
        return
    up = "../" * docname.count("/")
    download = rf'\1 · <a href="{up}_sources/{docname}.ipynb" download>Download .ipynb</a>'
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = mended("".join(cell["source"]), f"{docname}.ipynb")
            cell["source"] = re.sub(r"(\[Open in Binder\]\(\S+\))", download, text)
    source[0] = json.dumps(notebook)


def add_alt(app: Sphinx, document: nodes.document) -> None:
    """Give each figure of a notebook its alternative text, which myst-nb drops."""
    if app.env.docname.startswith("notebooks/"):
        cells = json.loads((ROOT / f"{app.env.docname}.ipynb").read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        shown = [output for output in outputs if "image/png" in output.get("data", {})]
        places = [n for n in document.findall(nodes.container) if n.get("mime_type") == "image/png"]
        for place, output in zip(places, shown, strict=True):
            next(place.findall(nodes.image))["alt"] = output["metadata"]["image/png"]["alt"]


def link_terms(app: Sphinx, document: nodes.document) -> None:
    """Link the first use of each term in a notebook, from the one on that introduces it."""
    if not (number := re.match(r"notebooks/(\d\d)_", app.env.docname)):
        return
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S.*)\n  .*\[Notebook (\d\d)\]", text, re.M)
    terms = {term.lower(): term for term, at in entries if at <= number[1]}
    longest_first = "|".join(map(re.escape, sorted(terms, key=len, reverse=True)))
    for node in list(document.findall(lambda n: isinstance(n, nodes.Text) and in_prose(n))):
        parts: list[nodes.Node] = []
        end = 0
        plain = node.replace("’", "'")
        for match in re.finditer(rf"\b({longest_first})(?:s|es)?\b", plain, re.I):
            if term := terms.pop(match[1].lower(), None):
                shown = nodes.inline("", node[slice(*match.span())], classes=["term"])
                link = addnodes.pending_xref("", shown, reftarget=term, **TO_TERM)
                parts += [nodes.Text(node[end : match.start()]), link]
                end = match.end()
        node.parent.replace(node, [*parts, nodes.Text(node[end:])])


def in_prose(node: nodes.Node) -> bool:
    """Whether a text stands outside links, headings, code and the outputs of cells."""
    above = node.parent
    code = isinstance(above, NO_PROSE) or (above and above.get("nb_element") == "cell_code")
    return above is None or (not code and in_prose(above))


def setup(app: Sphinx) -> dict[str, bool]:
    """Hang the changes into Sphinx."""
    app.connect("source-read", mend_notebook)
    app.connect("doctree-read", add_alt)
    app.connect("doctree-read", link_terms)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        stage(Path(work, "source"))
        options = ["-W", "--keep-going", "-q", "-c", f"{ROOT}/docs", "-d", f"{work}/doctrees"]
        sys.exit(sphinx([*options, f"{work}/source", sys.argv[1]]))
