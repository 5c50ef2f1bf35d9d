"""The report of a results folder: a self-contained page, and the figures as files."""

import biml.analysis  # noqa: F401  (reports a missing pandas)
from biml.errors import check_extra

check_extra("analysis", "a report needs", "jinja2")

from biml.report.page import FIGURE_FILES, PAGE_FILE, is_complete, write_report  # noqa: E402

__all__ = ["FIGURE_FILES", "PAGE_FILE", "is_complete", "write_report"]
