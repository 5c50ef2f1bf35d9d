"""Configuration of the documentation site (`make docs`)."""

import os
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from biml import __version__

project = "biml"
author = "biml maintainers"
project_copyright = "biml maintainers"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# Pages: MyST Markdown; tutorials are notebooks, executed once and again when they change.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_merge_streams = True
# The files and commands in cells (%%writefile, !biml) are not Python.
suppress_warnings = ["misc.highlighting_failure"]
# Their commands are those of this installation, and print no progress bars.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ |= {"TTY_COMPATIBLE": "0", "COLUMNS": "100"}

# API reference: one page for each public name, from its docstring.
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"biml {release}"
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Show tables in CSV as plain text; Pygments has no lexer for them."""
    app.add_lexer("csv", TextLexer)
