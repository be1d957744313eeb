"""The Sphinx configuration of the documentation."""

import ast
import os
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import django
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parent.parent

# The settings of the tests are read from the root of the repository.
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

project = "dsud"
author = "the dsud authors"
copyright = f"2026 {author}"
release = version = installed_version("django-sqlite-user-db")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = "dsud"
html_copy_source = False


def leave_foreign_names_plain(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.TextElement | None:
    """Show names of Python, Django and others as plain text, because no index of theirs is fetched."""
    is_ours = node.get("reftarget", "").partition(".")[0] == "dsud"
    return text if node.get("refdomain") == "py" and not is_ours else None


def describe_modules() -> str:
    """Return a table of the package's modules with the sentences that they begin with."""
    package = ROOT / "src" / "dsud"
    rows = ["| module | responsibility |", "|---|---|"]
    for path in sorted(package.rglob("*.py")):
        sentence = ast.get_docstring(ast.parse(path.read_text()))
        if sentence and "migrations" not in path.parts:
            rows.append(f"| `{path.relative_to(package)}` | {sentence.replace('``', '`')} |")
    return "\n".join(rows)


def describe_layers() -> str:
    """Return the layers that the imports are checked against, without those that do not exist."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    package = ROOT / "src" / "dsud"
    lines = []
    for layer in contracts["contracts"][0]["layers"]:
        names = [name.strip(" ()") for name in layer.split("|")]
        there = [name for name in names if any(package.glob(f"{name}*"))]
        lines.append(" | ".join(there))
    return "\n".join(["```text", *filter(None, lines), "```"])


def fill_in_architecture(_app: Sphinx, page: str, source: list[str]) -> None:
    """Write the layers and modules into the page on architecture, so that they are never outdated."""
    if page == "architecture":
        source[0] = source[0].replace("<!-- layers -->", describe_layers())
        source[0] = source[0].replace("<!-- modules -->", describe_modules())


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("missing-reference", leave_foreign_names_plain)
    app.connect("source-read", fill_in_architecture)
