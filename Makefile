# fer_lightning: everything starts here. `make` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATASET ?= synthetic
MODEL ?= psysfa_net
TRIALS ?= 20
SAMPLER ?= mboa
STUDY ?= psysfa_table6
BUDGET ?= smoke
NET ?= ferplus
ARGS ?=

.PHONY: help setup lock train sweep wandb-sweep study test test-full attack lint docs dist dashboard bench demo page clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo '  Variables: DATASET=rafdb MODEL=resnet TRIALS=60 ARGS="trainer.max_epochs=5 seed=1" (any override of fer train)'

setup: $(VENV)/.installed  ## make .venv and install everything into it

# Where this Python and system have a lock, every file that pip downloads must have a hash that is written in it. Elsewhere
# constraints.txt pins what decides results. Both end on one OpenCV, the one without a display (see pyproject.toml).
LOCK := $(wildcard $(shell $(PYTHON) -c 'import platform as p; print(f"lock-{p.system()}-{p.machine()}-py{p.python_version()[:4]}.txt".lower())'))

$(VENV)/.installed: pyproject.toml constraints.txt $(LOCK)
	$(PYTHON) -m venv $(VENV)
ifdef LOCK
	$(BIN)/python -m pip install --quiet --progress-bar on --require-hashes --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	sed -n '/^opencv-python-headless==/,/[^\\]$$/p' $(LOCK) > $(VENV)/opencv.txt
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps --require-hashes --requirement $(VENV)/opencv.txt
else
	@echo "There is no lock for this Python and system: packages are installed by constraints.txt, without hashes."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar on --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps --constraint constraints.txt 'opencv-python-headless<5'
endif
	touch $@

lock:  ## write the lock again after a change of dependencies: make lock UPGRADE=--upgrade
	uv pip compile pyproject.toml --extra dev --constraint constraints.txt --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		$(UPGRADE) --output-file lock-linux-x86_64-py3.11.txt

train: setup  ## train: make train DATASET=rafdb MODEL=resnet ARGS="trainer.max_epochs=5"
	$(BIN)/fer train data=$(DATASET) model=$(MODEL) $(ARGS)

sweep: setup  ## search hyperparameters: make sweep DATASET=rafdb TRIALS=60 SAMPLER=tpe; again: it goes on
	$(BIN)/fer train -m data=$(DATASET) model=$(MODEL) hydra/sweeper=optuna hydra/sweeper/sampler=$(SAMPLER) \
		hydra.sweeper.n_trials=$(TRIALS) hydra.sweep.dir=outputs/sweeps/$(MODEL)_$(DATASET)_$(SAMPLER) \
		selection.monitor=val/loss selection.mode=min 'optimizer.lr=tag(log,interval(1e-5,1e-2))' \
		'optimizer.weight_decay=tag(log,interval(1e-4,0.3))' 'data.batch_size=int(interval(8,64))' $(ARGS)

wandb-sweep: setup  ## the same, steered by W&B: make wandb-sweep DATASET=rafdb MODEL=resnet; then wandb agent on each machine
	mkdir -p outputs
	sed -e 's/^  data: .*/  data: {value: $(DATASET)}/' -e 's/^  model: .*/  model: {value: $(MODEL)}/' \
		docs/wandb_sweep.yaml > outputs/wandb_sweep.yaml
	$(BIN)/wandb sweep outputs/wandb_sweep.yaml

study: setup  ## a table of a paper and its report: make study STUDY=psysfa_table6 BUDGET=pilot DATASET=fer2013; again: it goes on
	$(BIN)/fer train study=$(STUDY) budget=$(BUDGET) $(if $(filter file,$(origin DATASET)),,data=$(DATASET)) $(ARGS)
	$(BIN)/fer report $$(ls -td outputs/studies/*/ | head -1)

test: setup  ## the tests, in a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-full: setup  ## all tests, the long ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m ''

attack: setup  ## hostile inputs by the thousand, against every reader; prints what was tried and what held
	rm -f outputs/attacks.jsonl && mkdir -p outputs
	FER_ATTACK=full FER_ATTACK_RECORD=outputs/attacks.jsonl OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m '' tests/attacks
	$(BIN)/python -c "import pandas; table = pandas.read_json('outputs/attacks.jsonl', lines=True).sort_values('campaign'); print(table.to_string(index=False)); print(table[['tried', 'held']].sum().to_string())"

lint: setup  ## style, types, and what is known of unsafe code and packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml fer_lightning hydra_plugins
	$(BIN)/python .ci/audit.py

docs: $(VENV)/.docs  ## the documentation as a site in build/site, which loads nothing from other hosts
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "To read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable '.[docs]'
	touch $@

dist: $(VENV)/.dist  ## a wheel and a source distribution in dist, as the Python Package Index accepts them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

$(VENV)/.dist: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable '.[dist]'
	touch $@

dashboard: setup  ## browse what was logged and searched, offline too
	$(BIN)/fer dashboard

demo: setup  ## a page on this machine to try a net: drop a picture, or the camera
	$(BIN)/fer demo $(ARGS)

page: setup  ## the same as files for any static host, in build/page: make page NET=net.onnx
	$(BIN)/fer export checkpoint=$(NET) format=page path=build/page $(ARGS)

bench: setup  ## time prediction from frame to label; ARGS=part=training, throughput, latency or samplers for the others
	$(BIN)/fer benchmark $(ARGS)

clean:  ## remove the environment and caches; outputs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
