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
ARGS ?=

.PHONY: help setup train sweep study test test-full attack lint dashboard bench demo clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo '  Variables: DATASET=rafdb MODEL=resnet TRIALS=60 ARGS="trainer.max_epochs=5 seed=1" (any override of fer train)'

setup: $(VENV)/.installed  ## make .venv and install everything into it

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar on --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps --constraint constraints.txt 'opencv-python-headless<5'
	touch $@

train: setup  ## train: make train DATASET=rafdb MODEL=resnet ARGS="trainer.max_epochs=5"
	$(BIN)/fer train data=$(DATASET) model=$(MODEL) $(ARGS)

sweep: setup  ## search hyperparameters: make sweep DATASET=rafdb TRIALS=60 SAMPLER=tpe; again: it goes on
	$(BIN)/fer train -m data=$(DATASET) model=$(MODEL) hydra/sweeper=mboa hydra/sweeper/sampler=$(SAMPLER) \
		hydra.sweeper.n_trials=$(TRIALS) hydra.sweep.dir=outputs/sweeps/$(MODEL)_$(DATASET)_$(SAMPLER) \
		selection.monitor=val/loss selection.mode=min 'optimizer.lr=tag(log,interval(1e-5,1e-2))' \
		'optimizer.weight_decay=tag(log,interval(1e-4,0.3))' 'data.batch_size=int(interval(8,64))' $(ARGS)

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

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dashboard: setup  ## browse what was logged and searched, offline too
	$(BIN)/fer dashboard

demo: setup  ## a page on this machine to try a net: drop a picture, or the camera
	$(BIN)/fer demo $(ARGS)

bench: setup  ## speed against plain PyTorch, HAFEM's latency, and samplers against each other
	$(BIN)/fer bench

clean:  ## remove the environment and caches; outputs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
