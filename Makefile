# Each target is enough on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test clean

# A few minutes of training on episodes drawn as it goes, then answers to new queries.
demo: .venv/installed
	$(BIN)/biml train --preset fast --episode_type algebraic --minutes 4 \
		--fn_out_model demo.pt --overwrite
	$(BIN)/biml eval --fn_out_model demo.pt --max --verbose --episodes 3
	$(BIN)/biml eval --fn_out_model demo.pt --max

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

.venv/bin/python:
	$(PYTHON) -m venv .venv

# PyTorch comes first: once a version in our range is there, nothing larger is fetched for it.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) -e .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) -e '.[test]'
	touch $@

clean:
	rm -rf .venv
