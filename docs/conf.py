"""Sphinx's settings for the site; see build.py."""

import re

project = "Graph tutorials"
author = "The authors of graph-tutorials"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "data/LICENSE*"]

html_theme = "alabaster"
html_theme_options = {
    "description": "TensorFlow's classic graph tutorials, running today",
    "page_width": "1180px",
    "sidebar_width": "230px",
    "fixed_sidebar": False,
    "show_powered_by": False,
    "font_family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "head_font_family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "gray_1": "#222",
    "gray_2": "#555",
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "Graph tutorials"
html_show_copyright = False  # LICENSE states it
html_copy_source = True
html_sourcelink_suffix = ""

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the .ipynb hold their outputs
nb_ipywidgets_js: dict = {}  # no page has widgets, so no script is loaded from other sites
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # otherwise os.environ as a default would show its content
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # "logits" in "Returns: logits: ..." is a name, not a link

_SECTION = re.compile(r"\s*(Args|Attributes|Raises|Returns|Yields):$")


def _as_literal(app, what, name, obj, options, lines):
    """Marks indented text in a docstring as code, and escapes stars.

    The docstrings are plain text, written for readers of the source.
    """
    out: list[str] = []
    in_section = in_code = False
    for line in lines:
        is_indented = line.startswith(" ")
        if line.strip():
            in_section = bool(_SECTION.match(line)) or (in_section and is_indented)
        if is_indented and not in_section and not in_code:
            before = len(out) - 1
            while before >= 0 and not out[before].strip():
                before -= 1
            if before >= 0 and out[before].endswith(":"):
                out[before] += ":"
            else:
                out += ["", "::"]
            out.append("")
            in_code = True
        elif line.strip() and not is_indented:
            if in_code:
                out.append("")
            in_code = False
        out.append(line if in_code else line.replace("*", r"\*"))
    lines[:] = out


def setup(app):
    """Registers `_as_literal`; Sphinx calls this."""
    app.connect("autodoc-process-docstring", _as_literal, priority=400)
