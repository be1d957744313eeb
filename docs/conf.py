"""The Sphinx configuration of the documentation."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import django
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# The settings of the tests are read from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
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


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("missing-reference", leave_foreign_names_plain)
