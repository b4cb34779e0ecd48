# Everything sets itself up: one virtual environment in .venv for all targets; python3 (3.11 or newer), make and a network are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
VIDEO  ?= src/avglance/samples/glanceworld.mp4

.PHONY: help install demo test test-all lint types glanceworld dist clean

help:
	@echo "make demo [VIDEO=my.mp4]   set up, tag a video, write an HTML report"
	@echo "make test                  set up, run the tests (the slow ones: make test-all)"
	@echo "make lint types            ruff; mypy"
	@echo "make glanceworld           make the toy world, train the shipped model and its rival again, evaluate both"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "AVGLance needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 5; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing: on Debian and Ubuntu, apt install python3-venv"; exit 5; }
	@echo "installing into $(VENV) (torch is large: some 6 GB with the default build) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/avglance tag --force --report demo.html -- "$(VIDEO)"
	@echo "report: $(CURDIR)/demo.html"

test: $(READY)
	$(BIN)/python -m pytest

test-all: $(READY)
	$(BIN)/python -m pytest -m 'not network and not gpu'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

dist: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean:
	rm -rf $(VENV) build dist demo.html

# The toy world, the shipped model and its rival from nothing; each step goes on where it was broken off.
WORLD := worlds
RUNS  := runs
EVAL  := $(BIN)/avglance eval --force --quiet --out
EPOCHS := 9

glanceworld: $(READY)
	@echo "this takes about two hours on two cores: 4,200 videos, two trainings, five evaluations"
	$(BIN)/avglance data glanceworld $(WORLD)/train --videos 3000 --seed 1
	$(BIN)/avglance data glanceworld $(WORLD)/test --videos 1200 --seed 2
	$(BIN)/avglance train $(WORLD)/train --system avgn_nano --out $(RUNS)/avgn_nano --epochs $(EPOCHS) --seed 0 --precision bf16
	$(BIN)/avglance train $(WORLD)/train --system tsn_nano --out $(RUNS)/tsn_nano --epochs $(EPOCHS) --seed 0 --precision bf16
	$(EVAL) $(RUNS)/1_avgn_k4.json $(RUNS)/avgn_nano/model $(WORLD)/test --budget 4
	$(EVAL) $(RUNS)/2_avgn_k16.json $(RUNS)/avgn_nano/model $(WORLD)/test --budget 16
	$(EVAL) $(RUNS)/3_avgn_k4_swapped.json $(RUNS)/avgn_nano/model $(WORLD)/test --budget 4 --swap-sound
	$(EVAL) $(RUNS)/4_tsn_k4.json $(RUNS)/tsn_nano/model $(WORLD)/test --budget 4
	$(EVAL) $(RUNS)/5_tsn_k16.json $(RUNS)/tsn_nano/model $(WORLD)/test --budget 16
	$(BIN)/python benchmarks/results.py $(RUNS)/*.json
