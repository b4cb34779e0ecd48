# Everything sets itself up: one virtual environment in .venv for all targets; python3 (3.11 or newer), make and a network are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LIGHT  := $(VENV)/.light
READY  := $(VENV)/.ready
SAMPLE := src/avglance/samples/glanceworld.mp4
VIDEO  ?= $(SAMPLE)
MODEL  ?= $(if $(filter $(SAMPLE),$(VIDEO)),avgn_nano.glanceworld,avgn_mobile.ucf7)

.PHONY: help install demo test test-all lint types glanceworld dist clean

help:
	@echo "make demo [VIDEO=my.mp4]   set up (without torch), tag a video, write an HTML report"
	@echo "make test                  set up, run the tests (the slow ones: make test-all)"
	@echo "make lint types            ruff; mypy"
	@echo "make glanceworld           every figure of docs/glanceworld.md from nothing (hours); PART=main, pieces, worlds, knobs"

install: $(READY)

# What answers without torch; everything else comes on top of it, in the same place.
$(LIGHT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "AVGLance needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 5; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing: on Debian and Ubuntu, apt install python3-venv"; exit 5; }
	@echo "installing into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(READY): $(LIGHT)
	@echo "installing into $(VENV) what training and tests need (torch is large: some 6 GB with the default build) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(LIGHT)
	$(BIN)/avglance tag --model $(MODEL) --force --report demo.html -- "$(VIDEO)"
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

# Every figure of docs/glanceworld.md from nothing; says first how long that takes, goes on where it was broken off.
PART :=

glanceworld: $(READY)
	$(BIN)/python benchmarks/glanceworld.py $(PART)
