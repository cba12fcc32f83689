# Thin wrappers: nothing here that `lorakit` or a script in tools/ cannot do by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/lorakit
RECIPE ?= recipes/demo.toml
# one more than there are cores: many a test waits for a program that it started
WORKERS = $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')
export PYTHONUTF8 = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo vendor vendor-musubi presets plan train test test-slow test-long test-real test-real-slow test-browser check fix coverage shape bench bench-trainers bench-gpu parity prove-resume toy corpus attack golden catalogue docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## an environment in .venv with everything that lorakit needs, versions pinned
$(VENV)/.train: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 15))' || { echo "lorakit needs Python 3.10 to 3.14: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.ready: $(VENV)/.train
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

demo: $(VENV)/.train ## train the toy base on a drawn character, on this CPU, and draw the sheet
	$(BIN)/python tools/demo.py

vendor: setup ## check out sd-scripts at its pin and build vendor/.venv for it
	$(BIN)/python tools/vendor.py

vendor-musubi: setup ## the same for musubi-tuner, in vendor/.venv-musubi
	$(BIN)/python tools/vendor.py musubi

presets: setup ## what exists, for which machine
	@$(RUN) presets

plan: setup ## everything that would happen: make plan RECIPE=recipes/maya.toml
	@$(RUN) plan $(RECIPE)

train: setup ## train one recipe: make train RECIPE=recipes/maya.toml
	@$(RUN) train $(RECIPE)

test: setup ## the quick tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: setup ## real training at toy size, kill loops, two processes
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'slow and not long and not real and not browser and not gpu'

test-long: setup ## the slow tests of most of a minute, or once more for another family: Slurm and ssh (where installed), halving, two machines
	$(BIN)/python -m pytest -m 'long'

test-real: setup ## against the real sd-scripts, where one is configured
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'real and not slow and not gpu' -rs

test-real-slow: setup ## the same at full length: FLUX, parity, resumed runs, two processes
	$(BIN)/python -m pytest -m 'real and slow and not gpu' -rs

$(VENV)/.browser: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	@touch $@

test-browser: $(VENV)/.browser ## pages in headless Chromium, where one is installed
	$(BIN)/python -m pytest -n 2 -m 'browser' -rs

check: setup ## ruff, mypy and the quick tests
	$(BIN)/ruff check lorakit tools tests
	$(BIN)/ruff format --check lorakit tools tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

fix: setup ## let ruff fix and format what it can
	$(BIN)/ruff check --fix lorakit tools tests
	$(BIN)/ruff format lorakit tools tests

coverage: setup ## lines that the quick and the slow tests reach; fails under 95 %
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not real and not browser and not gpu and not long' --cov --cov-report=term:skip-covered

shape: setup ## how much code there is, how it is cut, what occurs twice
	$(BIN)/python tools/shape.py

bench: setup ## start-up, planning, images, following and verifying, as ratios against a named peer
	$(BIN)/python tools/bench_cli.py
	$(BIN)/python tools/bench_dataset.py
	$(BIN)/python tools/bench_dataset.py --small 5000
	$(BIN)/python tools/bench_follow.py
	$(BIN)/python tools/bench_verify.py

bench-trainers: setup ## the embedded trainer beside sd-scripts: time and memory (where one is configured)
	$(BIN)/python tools/bench_trainers.py

bench-gpu: setup ## the same on an NVIDIA card, full-size, in six minutes: the table for LOG.md
	$(BIN)/python tools/bench_gpu.py

parity: setup ## the numbers of both trainers on the same weights (where one is configured)
	$(BIN)/python tools/parity.py --case plain

prove-resume: setup ## sd-scripts killed, stopped and resumed, beside an undisturbed run (where one is configured)
	$(BIN)/python tools/prove_resume.py

toy: setup ## train the toy base and its judge anew into build/toy: about an hour
	$(BIN)/python tools/toy/train_vae.py --out build/toy --show build/toy/vae.png
	$(BIN)/python tools/toy/train_base.py --out build/toy --show build/toy/samples.png --latents build/toy/latents.pt
	$(BIN)/python tools/toy/recognise.py --out build/toy/judge.safetensors

corpus: setup ## draw the dataset in which almost everything is broken into build/corpus
	$(BIN)/python tools/make_corpus.py build/corpus

attack: setup ## draw bad files, race, kill, lie and plant secrets: 26,000 cases, one table, ten minutes
	PYTHONPATH=tests $(BIN)/python -m attacks

golden: setup ## rewrite the golden plans; judge them in the diff
	$(BIN)/python -m pytest tests/plan --rewrite-golden

catalogue: setup ## read the option lists from the vendored source again
	$(BIN)/python tools/make_catalogue.py
	$(BIN)/python tools/make_schema.py

docs: setup ## rewrite the generated parts of README.md and docs/
	$(BIN)/python tools/make_docs.py

clean: ## remove what was built here; never runs, datasets or models
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist .coverage*
