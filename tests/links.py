"""Write the repository's address into every badge, link and Colab cell: `make links`.

Address and version stand in pyproject.toml, and nowhere else by hand. Colab and Binder open the
tag of that version, so that a notebook and the helpers that it installs belong together.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def linked_files() -> list[Path]:
    """The files that name the address."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb")),
    ]


def with_links(text: str) -> str:
    """The text with every address that depends on the repository as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address, tag = project["urls"]["Repository"], f"v{project['version']}"
    slug = address.removeprefix("https://github.com/")
    part = r"[^/\s)\"\\]+"
    changes = {
        rf"(colab\.research\.google\.com/github/){part}/{part}/blob/{part}/": (
            rf"\g<1>{slug}/blob/{tag}/"
        ),
        rf"(mybinder\.org/v2/gh/){part}/{part}/[^/\s)?\"\\]+": rf"\g<1>{slug}/{tag}",
        r"git\+https://[^\s\"\\]+": f"git+{address}@{tag}",
        r"git clone https://\S+": f"git clone {address}",
        rf"https://github\.com/{part}/{part}/(actions|issues)": rf"{address}/\1",
    }
    for pattern, replacement in changes.items():
        text = re.sub(pattern, replacement, text)
    return text


def main() -> None:
    """Rewrite the files that change."""
    for path in linked_files():
        text = path.read_text(encoding="utf-8")
        if with_links(text) != text:
            path.write_text(with_links(text), encoding="utf-8")
            print(f"changed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
