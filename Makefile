# Two commands for a newcomer: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := plugins/vicinal-template plugins/vicinal-torch
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STAMP := $(VENV)/.installed
PLUGINS_STAMP := $(VENV)/.plugins-installed
JOBS ?= 2

.PHONY: demo test test-slow test-fuzz test-py313 test-lowest lint peers peers-tf clean

demo: $(STAMP)
	$(BIN)/vicinal demo --out demo

test: $(PLUGINS_STAMP)
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) tests plugins

test-slow: $(PLUGINS_STAMP)
	$(BIN)/python -m pytest -m slow tests plugins
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=300 tutorials

# Many more of the altered files, records and matrices than `make test` tries: about 3 minutes.
test-fuzz: $(PLUGINS_STAMP)
	VICINAL_FUZZ_CASES=$${VICINAL_FUZZ_CASES:-20000} $(BIN)/python -m pytest -s tests/fuzz

# Today's stack, in an environment of its own (Python 3.13); without torch, whose wheel there is gigabytes.
test-py313:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-py313.txt -e .[test] -e plugins/vicinal-template
	$(BIN)/python -m pytest -p no:cacheprovider -m "not slow" -n $(JOBS) tests plugins/vicinal-template

# Exactly the floors of pyproject.toml; without the peers and the type checker of the tests, which ask for newer ones.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e . pytest pytest-xdist hypothesis distributed igraph leidenalg mudata xarray
	.venv-lowest/bin/vicinal demo --out demo
	.venv-lowest/bin/python -m pytest -p no:cacheprovider -m "not slow" -n $(JOBS) tests/adata tests/pl tests/tl/test_embed.py tests/tl/test_tsne.py tests/tl/test_project.py

lint: $(PLUGINS_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}"'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .[test]
	touch $(STAMP)

# Apart from the rest, since torch is large and the demo needs none of it.
$(PLUGINS_STAMP): $(STAMP) $(PLUGINS:%=%/pyproject.toml)
	$(INSTALL) -e .[test] $(foreach plugin,$(PLUGINS),-e $(plugin)[test])
	touch $(PLUGINS_STAMP)

# The peers that benchmarks/ compares with, in an environment of their own.
peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt

# ParametricUMAP of umap-learn: TensorFlow has demands of its own.
peers-tf:
	$(PYTHON) -m venv .venv-tf
	.venv-tf/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements-tf.txt

clean:
	rm -rf $(VENV) .venv-lowest .venv-peers .venv-tf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
