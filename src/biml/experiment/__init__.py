"""Experiments with people: designs, sessions, the database, simulated participants, export.

The database (`store` and what uses it) needs the extra `web`.
"""
