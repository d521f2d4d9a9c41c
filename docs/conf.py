"""How Sphinx builds the documentation.

    python -m sphinx -W -n -c docs . build/docs

at the top of the repository, which is the source folder: pages that lie elsewhere (ARCHITECTURE.md,
the notes on deployment, notebooks) stay where they are, and their links work here as in the clone.

Built so, it needs no network. Where `release/publish_docs.py` builds it for the address in
`MRCDIST_DOCS`, pages offer the other versions, and link to the documentation of other projects.
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

# Notebooks are shown as they were run when they were committed; tests run them.
nb_execution_mode = "off"
# Widgets would need scripts from other sites: what is beside them, a picture or text, is shown.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_heading_anchors = 3

# Examples are copied without prompts and without what they print.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "none"  # docstrings have the types, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "py:obj"
smartquotes = False  # options begin with two hyphens

# What docstrings have in backticks: classes have to be found, while parameters, attributes and
# expressions are text.
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
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
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
        "check_switcher": False,  # the first version is built before there is a list
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
    """Show a command's examples as what they are: its help has them as indented lines."""
    for at, line in enumerate(lines):
        if line.startswith("| Example"):
            lines[at] = f"{line.removeprefix('| ')}\n\n.. code-block:: sh\n"
        elif line.startswith("|   "):
            lines[at] = line.removeprefix("| ").replace("  ", "   ", 1)
    lines[:] = "\n".join(lines).split("\n")


def _addresses_as_code(_app: object, _context: object, lines: list[str]) -> None:
    """Show addresses in the help of options as text: nobody can follow them."""
    lines[:] = [re.sub(r"\b\w+://[\w:]+", r"``\g<0>``", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register the functions above; Sphinx calls this."""
    app.connect("sphinx-click-process-description", _examples_as_code)
    app.connect("sphinx-click-process-options", _addresses_as_code)
