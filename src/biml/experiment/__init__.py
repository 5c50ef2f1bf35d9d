"""Experiments with people: designs, sessions, the database, simulated participants, export."""

from biml.errors import check_extra

check_extra("web", "experiments with people need", "sqlalchemy")
