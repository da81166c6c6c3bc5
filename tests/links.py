"""Write the repository's address into every badge, link and Colab cell: `make links`.

The address stands in pyproject.toml, and nowhere else by hand. Colab and Binder open the branch
`main`, so that they work as soon as it is pushed. `make links REF=v0.2.0` names a tag instead, so
that the notebooks of a release install the helpers of that release.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def linked_files() -> list[Path]:
    """The files that name the address."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "docs" / "blocked_download.md",
        *sorted(ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb")),
    ]


def with_links(text: str, ref: str = "main") -> str:
    """The text with the address of pyproject.toml, and a branch or tag, in all its links."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"]
    slug = address.removeprefix("https://github.com/")
    part = r"[^/\s)\"\\]+"
    changes = {
        rf"(colab\.research\.google\.com/github/){part}/{part}/blob/{part}/": (
            rf"\g<1>{slug}/blob/{ref}/"
        ),
        rf"(mybinder\.org/v2/gh/){part}/{part}/[^/\s)?\"\\]+": rf"\g<1>{slug}/{ref}",
        r"git\+https://[^\s\"\\]+": f"git+{address}@{ref}",
        r"git clone https://\S+\ncd \S+": f"git clone {address}\ncd {slug.split('/')[-1]}",
        rf"https://github\.com/{part}/{part}/(actions|issues)": rf"{address}/\1",
    }
    for pattern, replacement in changes.items():
        text = re.sub(pattern, replacement, text)
    return text


def main() -> None:
    """Rewrite the files that change."""
    ref = next(iter(sys.argv[1:]), "main")
    for path in linked_files():
        text = path.read_text(encoding="utf-8")
        if with_links(text, ref) != text:
            path.write_text(with_links(text, ref), encoding="utf-8")
            print(f"changed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
