"""Settings of the web site. `make site` builds it; pages.py gets the pages ready."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from pages import ADDRESS, setup  # noqa: E402, F401  (Sphinx calls setup)

project = html_title = "MNIST, step by step"
author = copyright = "the authors of the MNIST notebooks"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
highlight_language = "text"
nb_execution_mode = "off"  # the committed outputs are shown
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else scripts from other servers
myst_enable_extensions: list[str] = []  # a dollar is a dollar
myst_heading_anchors = 3

autodoc_default_options = {"member-order": "bysource"}
autodoc_preserve_defaults = True  # as written: no path of the machine that builds
autodoc_typehints_format = "short"
add_module_names = False
default_role = "py:obj"  # the docstrings write `name`
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sourcelink_suffix = ""
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "navbar_persistent": [],
    "repository_url": ADDRESS,
    "use_repository_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
}
