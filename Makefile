# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# What mostly waits, for minutes of the clock and for nodes to be given up: three files at a time, each with labs of its
# own. First what keeps the machine busy, beside others that do not; then the longest, so that none is alone at the end.
WAIT   := $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder
ADOPT  := tests/acceptance/test_adopt.py
LONG   := many_at_once database_away downtime power_cut outages changes lost_nodes sent hostile_jobs
CHAOS  := $(LONG:%=tests/chaos/test_%.py)
CHAOS  += $(filter-out $(CHAOS),$(wildcard tests/chaos/test_*.py))
TYPES  := $(BIN)/basedpyright --level error
IMPORTS := $(BIN)/lint-imports --no-logo || $(BIN)/lint-imports
# Both commands at once; what the first says comes after all that the second says. Fails when one of them does.
both = said=$$(mktemp); { $(1); } > $$said 2>&1 & other=$$!; $(2); first=$$?; wait $$other; second=$$?; \
	cat $$said; rm -f $$said; exit $$((first + second))
DEMO_HOME ?= $(CURDIR)/.homelab/demo

.DEFAULT_GOAL := help
.PHONY: help demo test check unit service acceptance chaos bench format pins clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "homelab needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	@echo "Making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing homelab (one or two minutes the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(STAMP)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## Start the example lab with its 46 jobs; Ctrl-C stops all of it
	@HOMELAB_HOME="$(DEMO_HOME)" $(BIN)/homelab --lab examples/reference-lab/lab.toml up

test: $(VENV)/.installed-dev ## Everything: check, service, acceptance and chaos tests
	@sh tests/system-packages.sh
	@$(MAKE) --no-print-directory check
	@# What works does it beside what waits. Not the other way round: Ctrl-C means nothing to what a shell has in the
	@# background, and acceptance tests press it.
	@$(call both,$(WAIT) $(ADOPT) $(CHAOS),{ $(BIN)/pytest -q tests/service; service=$$?; \
	$(BIN)/pytest -q tests/acceptance --ignore=$(ADOPT); (exit $$((service + $$?))); })

check: $(VENV)/.installed-dev ## Formatting, lint, types, import contracts, unit tests (under a minute)
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@# Two cores do half each: the types and a third of the unit tests take about as long as the rest of them.
	@$(call both,$(TYPES); types=$$?; $(IMPORTS); imports=$$?; $(BIN)/pytest -q tests/unit/test_[p-z]*.py; exit $$((types + imports + $$?)),\
	$(BIN)/pytest -q tests/unit/test_[a-o]*.py)

unit service acceptance: $(VENV)/.installed-dev ## One kind of tests
	@$(BIN)/pytest -q tests/$@

chaos: $(VENV)/.installed-dev ## Services killed, cables cut, disks filled
	@$(WAIT) $(CHAOS)

bench: $(VENV)/.installed-dev ## Measure, and write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

format: $(VENV)/.installed-dev ## Format and fix what can be fixed
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

pins: $(VENV)/.installed-dev ## Write constraints.txt from the environment
	@{ sed -n 1p constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ '; } > constraints.new && mv constraints.new constraints.txt

clean: ## Remove the environment and the demo's state
	@rm -rf $(VENV) .homelab
