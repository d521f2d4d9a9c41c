"""Sphinx configuration.

    python -m sphinx -W -n -c docs . build/docs

Run this at the top of the repository, which is Sphinx's source folder: pages outside docs/
(ARCHITECTURE.md, deployment guides, notebooks) stay where they are, and their relative links work
both in the built pages and in the repository.

This build needs no network. `release/publish_docs.py` sets `MRCDIST_DOCS`, the address of the
site; pages then have a version switcher and link to the documentation of other projects.
"""

from __future__ import annotations

import os
import re

from sphinx.application import Sphinx

import mrcdist

project = "mrcdist"
author = project_copyright = "The mrcdist developers"
version = release = mrcdist.__version__

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "deploy/README.md",
    "deploy/**/README.md",
    "tests/benchmarks/README.md",
    "ARCHITECTURE.md",
]
exclude_patterns = [".*", "build", "**/.ipynb_checkpoints", "**/node_modules"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_click",
    "sphinx_copybutton",
    "myst_nb",  # also reads the .md pages
]

# Notebooks are shown with the outputs committed with them; the tests run them.
nb_execution_mode = "off"
# Widgets need scripts from other sites: show their static fallback, an image or text, instead.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_heading_anchors = 3

# Copy examples without prompts and output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "none"  # docstrings describe the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "py:obj"
smartquotes = False  # keeps the two hyphens of options

# Text in backticks in docstrings: classes must resolve; parameters, attributes and expressions
# need not.
nitpick_ignore_regex = [
    ("py:obj", r"[a-z_][\w.]*|.*[^\w.].*|\d+"),
    ("py:class", r"(collections|typing|numpy|dask|Exception|ValueError|OSError)\b.*"),
]

html_theme = "pydata_sphinx_theme"
html_title = "mrcdist"
html_static_path = ["_static"]
html_extra_path = ["_root"]
html_css_files = ["mrcdist.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_sidebars: dict[str, list[str]] = {"docs/tutorial": [], "docs/comparison": []}
html_context = {"default_mode": "auto"}  # light or dark, like the reader's system
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

if site := os.environ.get("MRCDIST_DOCS", "").rstrip("/"):
    html_theme_options |= {
        "navbar_end": ["version-switcher", "theme-switcher"],
        "switcher": {
            "json_url": f"{site}/versions.json",
            "version_match": os.environ.get("MRCDIST_DOCS_VERSION", ""),
        },
        "check_switcher": False,  # versions.json does not exist before the first build
        "show_version_warning_banner": True,
    }
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
        "distributed": ("https://distributed.dask.org/en/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "zarr": ("https://zarr.readthedocs.io/en/stable", None),
        "fsspec": ("https://filesystem-spec.readthedocs.io/en/latest", None),
    }


def _examples_as_code(_app: object, _context: object, lines: list[str]) -> None:
    """Turn the examples of a command, indented lines in its help text, into code blocks."""
    for number, line in enumerate(lines):
        if line.startswith("| Example"):
            lines[number] = f"{line.removeprefix('| ')}\n\n.. code-block:: sh\n"
        elif line.startswith("|   "):
            lines[number] = line.removeprefix("| ").replace("  ", "   ", 1)
    lines[:] = "\n".join(lines).split("\n")


def _urls_as_code(_app: object, _context: object, lines: list[str]) -> None:
    """Format URLs in the help of options as code: they are examples, not links to follow."""
    lines[:] = [re.sub(r"\b\w+://[\w:]+", r"``\g<0>``", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register the functions above; called by Sphinx."""
    app.connect("sphinx-click-process-description", _examples_as_code)
    app.connect("sphinx-click-process-options", _urls_as_code)
