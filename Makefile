# `make figures` is the first thing to type. Every target installs into .venv what it needs, once.
#
#   PYTHON=python3.12 make install      another interpreter (3.11 or newer)
#   PIP_ARGS="..." make install         further options for pip, say an index with CPU builds of torch
#   EXTRA=gpu make install              with uv: the CUDA build of torch (cpu or gpu)
#   SCALE=smoke make figures            train a scale, then draw it (smoke, laptop, desktop, paper)
#   PYTEST_ARGS="-k masks" make test    some of the tests

PYTHON ?= python3
PIP_ARGS ?=
SCALE ?=
DRAWN := runs/figures/laptop
PHOTOGRAPHS := runs/figures/desktop
PYTEST_ARGS ?=
JOBS ?= 2

BIN := .venv/bin
READY := .venv/.installed
PIP := -m pip --disable-pip-version-check --quiet
# pip compiles on one core; compileall does it afterwards on all (templates among the files do not compile)
ONCE := --no-compile $(PIP_ARGS)
EXTRA ?= cpu
# uv where it is and has a lock to go by, else pip and requirements.lock
UV := $(if $(wildcard uv.lock),$(shell command -v uv 2>/dev/null))

.DEFAULT_GOAL := help
.PHONY: help install figures gallery findings docs test lint lab bench faults fuzz lock uv-lock clean

help:
	@echo "make figures   draw every figure from the published results (minutes, nothing trained or downloaded);"
	@echo "               SCALE=smoke make figures trains that scale first"
	@echo "make gallery   copy these pictures to docs/gallery; all must be of one clean commit"
	@echo "make findings  compute the tables of docs/findings.md from results/ anew"
	@echo "make docs      the site, in build/site: README, docs, reference, the notebooks as make figures left them"
	@echo "make test      lint and test"
	@echo "make lab       open the notebooks in JupyterLab"
	@echo "make bench     how fast this machine trains"
	@echo "make faults    kill the command hundreds of times and look at what it leaves (Linux)"
	@echo "make fuzz      thousands of command lines and damaged files"
	@echo "make install   only install, into .venv"
	@echo "make lint      check style, format, types and which package imports which"
	@echo "make lock      write requirements.lock anew"
	@echo "make uv-lock   write uv.lock, which make install then uses (needs uv and PyTorch's own index)"
	@echo "make clean     remove .venv and caches; what was trained under runs/ stays"

install: $(READY)

# --seed: with pip, which `make docs` and the pages call
$(BIN)/python:
ifeq ($(UV),)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lthpaper needs Python 3.11 or newer; \
	this is " + sys.version.split()[0] + ". Name another one: PYTHON=python3.12 make install")'
	@$(PYTHON) -m venv .venv
else
	@$(UV) venv --quiet --seed --python $(PYTHON) .venv
endif

# torch comes with the lock's exact pin: an open range would take whatever build is newest
$(READY): $(BIN)/python pyproject.toml requirements.lock $(wildcard uv.lock)
	@echo "Installing into .venv (once) ..."
ifeq ($(UV),)
	@$(BIN)/python $(PIP) install $(ONCE) -r requirements.lock
	@$(BIN)/python $(PIP) install $(ONCE) --no-deps -e .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true
else
	@$(UV) sync --quiet --locked --extra $(EXTRA) --extra notebooks --extra hub --extra cluster --extra dev
endif
	@touch $@

figures: $(READY)
	@$(BIN)/lthpaper figures $(if $(SCALE),--scale $(SCALE),--scale laptop --no-train)
	@$(if $(SCALE),true,$(BIN)/lthpaper figures fig1 appendix-a fig6 table4 --scale desktop --no-train --out $(PHOTOGRAPHS))
	@$(if $(SCALE),true,$(BIN)/lthpaper figures fig3 --scale desktop --set experiments=resnet20/cifar10-16 \
		--no-train --out $(PHOTOGRAPHS))

# after `make figures`: the pictures that the README shows, each with its provenance
gallery:
	@test "$$(grep -h drawn_at_revision $(DRAWN)/*.json $(PHOTOGRAPHS)/*.json | sort -u | wc -l)" = 1 || \
	{ echo "The pictures in $(DRAWN) and $(PHOTOGRAPHS) are of several revisions: draw all of them again with make figures." >&2; exit 1; }
	@! grep -l 'drawn_at_revision.*+changes' $(DRAWN)/*.json $(PHOTOGRAPHS)/*.json || \
	{ echo "These were drawn with changes that are not committed: commit, then make figures again." >&2; exit 1; }
	@cp $(DRAWN)/*.png $(DRAWN)/*.json docs/gallery/
	@rm -f docs/gallery/*.csv
	@find $(DRAWN) -name "*.csv" -size -1000k -exec sh -c 'sed -n 2p "$$1" | grep -q .' _ {} \; \
	-exec cp {} docs/gallery/ \; # a surface is megabytes, a sketch has a header alone
	@mkdir -p docs/gallery/desktop && cp $(PHOTOGRAPHS)/*.png $(PHOTOGRAPHS)/*.json $(PHOTOGRAPHS)/*.csv docs/gallery/desktop/

# after results/ has changed: the tables that docs/findings.md computes from it
findings: $(READY)
	@$(BIN)/python docs/computed.py

# a link that leads nowhere ends it
docs: $(READY)
	@$(BIN)/python $(PIP) install $(PIP_ARGS) -e ".[docs]"
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/site
	@echo "build/site/index.html"

lint: $(READY)
	@mkdir -p build
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache > build/imports.txt || { cat build/imports.txt; exit 1; }
	@$(BIN)/mypy

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

# the filter keeps outputs out of git; see .gitattributes
lab: $(READY)
	@git config filter.nbstripout.clean '$(BIN)/nbstripout --keep-id' || true
	@$(BIN)/jupyter lab notebooks/

bench: $(READY)
	@$(BIN)/lthpaper bench

# the figures of docs/reliability.md; KILLS and EXAMPLES say how long
KILLS ?= 200
EXAMPLES ?= 1000

faults: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/fault_injection.py --kills $(KILLS) --real 20

fuzz: $(READY)
	@LTHPAPER_FUZZ_EXAMPLES=$(EXAMPLES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) \
	--hypothesis-show-statistics tests/store/test_fuzz.py tests/store/test_faults.py

# Resolves in an environment of its own, so that nothing installed by hand gets in, and keeps the old lock's
# versions where they still fit: to move one, change its line first. Without a pin of torch pip would fetch
# the newest build with gigabytes of CUDA; torch's own pins decide those packages, so they are not locked.
lock:
	@grep -q '^torch==' requirements.lock && grep -q '^torchvision==' requirements.lock || \
	{ echo "requirements.lock must pin torch and torchvision: write these two lines first" >&2; exit 1; }
	@rm -rf build/lock && mkdir -p build && $(PYTHON) -m venv build/lock
	@build/lock/bin/python $(PIP) install $(PIP_ARGS) -r requirements.lock
	@build/lock/bin/python $(PIP) install $(PIP_ARGS) -c requirements.lock -e '.[notebooks,hub,cluster,dev]'
	@{ echo "# The tested set: $$(build/lock/bin/python -V), written by \`make lock\`."; \
	  build/lock/bin/python -m pip freeze --exclude lthpaper | grep == | sed 's/+[a-z0-9.]*$$//' \
	  | grep -vE '^(nvidia|cuda|triton)'; } > build/requirements.lock
	@mv build/requirements.lock requirements.lock && rm -rf build/lock
	@echo "requirements.lock: $$(grep -c == requirements.lock) packages"

# once uv.lock is there, `make install` goes by it
uv-lock:
	@uv lock

clean:
	@rm -rf .venv build .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find lthpaper tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
