"""Results of the paper's experiments as a folder of tidy tables, whoever writes and reads them."""

import biml.behaviour  # noqa: F401  (says what to install where pandas is missing)
