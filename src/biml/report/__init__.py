"""The report of a results folder: a self-contained page, and the figures as files."""

from importlib.util import find_spec

import biml.analysis  # noqa: F401  (reports a missing pandas)
from biml.errors import BimlError

if not find_spec("jinja2"):
    raise BimlError(
        "a report needs jinja2; "
        "install it with: pip install 'biml[analysis]' (in a checkout: '.[analysis]')"
    )

from biml.report.page import FIGURE_FILES, PAGE_FILE, is_complete, write_report

__all__ = ["FIGURE_FILES", "PAGE_FILE", "is_complete", "write_report"]
