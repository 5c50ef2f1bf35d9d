"""Behaviour of people and models: each measure a function from responses to a table."""

from biml.errors import check_extra

check_extra("analysis", "tables of behaviour need", "pandas", "pyarrow", "scipy", "statsmodels")
