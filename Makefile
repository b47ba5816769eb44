# Every target does its own set-up. The plain commands behind each stand in README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# more words for pytest or the benchmark: make test ARGS='-k wall -x'
ARGS ?=

# What is installed is remembered by a stamp, so that a second call installs nothing.
CORE := $(VENV)/.installed-core
TOOLS := $(VENV)/.installed-dev
ALL := $(VENV)/.installed-export

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint bench faults

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(CORE) ## take the sample photographs and drawn smears through the queue, with the light core only
	@$(BIN)/python samples/smear.py demo-results/smears
	@run() { \
	  echo "pixelmill run $$*"; \
	  env -u PIXELMILL_BROKER -u PIXELMILL_STORE $(BIN)/pixelmill run "$$@" --force || exit $$?; \
	}; \
	run classify samples/ --out demo-results/classify; \
	run detect samples/ --out demo-results/detect; \
	run instances samples/ --score 0.4 --out demo-results/instances; \
	run portrait samples/people/ --out demo-results/portrait; \
	run segment demo-results/smears/ --out demo-results/segment; \
	run detect demo-results/smears/ --model smears-yolo --out demo-results/smears-detect; \
	run stylize samples/places/ --out demo-results/stylize; \
	run stylize samples/people/ --model style-scream --out demo-results/stylize-scream; \
	run generate --count 30 --out demo-results/generate
	@echo
	@echo "The pictures:  demo-results/{classify,detect,instances,segment,smears-detect}/overlays/"
	@echo "               demo-results/{portrait,stylize,stylize-scream,generate}/pictures/"
	@echo "The reports:   demo-results/{classify,detect,instances,portrait,segment,smears-detect,stylize,stylize-scream,generate}/report.html"

# The tests of single parts take every core; those of whole journeys, which start servers and workers and mostly wait for
# them, two at a time. ARGS may leave one half without a test (exit status 5), but not both.
define pytest
	@run() { echo "$(BIN)/python -m pytest $$*"; $(BIN)/python -m pytest "$$@" $(ARGS); }; \
	run $(1) --ignore=tests/system --numprocesses=auto --maxprocesses=4 --dist=loadfile; parts=$$?; \
	run $(1) tests/system --numprocesses=2 --dist=loadfile; journeys=$$?; \
	test $$parts = 5 && exit $$journeys; test $$journeys = 5 && exit $$parts; exit $$((parts + journeys))
endef

test: $(ALL) ## run all tests but the long ones; needs no root, no docker, no network
	$(call pytest,-m "not heavy")

test-all: $(ALL) ## run all tests, the minutes-long ones too
	$(call pytest)

lint: $(ALL) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(TOOLS) ## measure throughput and every pipeline against its session, each arrangement beside the others
	$(BIN)/python -m benchmarks.throughput $(ARGS)
	$(BIN)/python -m benchmarks.pipelines

faults: $(TOOLS) ## kill, freeze, cut and fill while jobs flow in (5 minutes; SOAK=1h: an hour), then see the books balance
	$(BIN)/python -m benchmarks.faults $(ARGS)

$(CORE): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Pixelmill needs Python 3.11 or newer, and there is no $(PYTHON) here: name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pixelmill needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another with make PYTHON=/path/to/python3.11" % sys.version_info[:2] or 0)'
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing Pixelmill (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(TOOLS): pyproject.toml | $(CORE)
	@echo "installing the tools for tests and benchmarks (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(CORE) $@

# pip's own settings hold (PIP_EXTRA_INDEX_URL, PIP_CONSTRAINT), for a CPU build of PyTorch, say.
$(ALL): pyproject.toml | $(CORE)
	@echo "installing what exports and their tests need, PyTorch among them (once, some GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[export,dev]'
	@touch $(CORE) $(TOOLS) $@
