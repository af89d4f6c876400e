# What a person runs here; .ci/run calls the same targets. Each does its own set-up, in .venv.
PYTHON ?= python3
CONFIG ?= configs/4cpu.yaml
PYTEST_ARGS ?= -n auto
BENCHMARKS_ARGS ?= --quick
SOAK_BOOTS ?= 20
SOAK_SECONDS ?= 600
SOAK_LOAD_SECONDS ?= 5
SOAK_INSTRUCTIONS ?= 20000000

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development
COMPILED := $(VENV)/.compiled

NATIVE := setup.py pyproject.toml $(wildcard mpvm/abi/*.py workers/engine/*.c) \
	$(filter-out workers/engine/abi.h,$(wildcard workers/engine/*.h)) \
	$(shell find mpvm/guests -name "*.[chS]" -o -name "*.ld" -o -name build.py)

PYTHON_SOURCES := $(shell find mpvm workers -name "*.py")

.PHONY: run linux test benchmarks soak lint build anatomy conformance clean help

run: $(INSTALLED) $(COMPILED) ## The main job: four vCPU processes run the guest that comes with the package.
	$(BIN)/mpvm run $(CONFIG)

linux: $(DEVELOPMENT) $(COMPILED) ## Debian's kernel on four vCPUs, to a shell. Ctrl-A x ends it.
	$(BIN)/python -m tests.system.linux .cache/linux
	$(BIN)/mpvm run configs/linux-4cpu.yaml

test: $(DEVELOPMENT) $(COMPILED) ## All tests.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

benchmarks: $(DEVELOPMENT) $(COMPILED) ## mpvm beside QEMU, in about two minutes (docs/benchmarks.md).
	$(BIN)/python -m benchmarks $(BENCHMARKS_ARGS)

soak: $(DEVELOPMENT) $(COMPILED) ## The long forms of the tests, an hour or more (docs/soak.md).
	$(BIN)/python -m tests.system.soak --boots $(SOAK_BOOTS) --smp 4
	$(BIN)/python -m tests.system.soak --boots 1 --smp 4 --run loads,together,$(SOAK_SECONDS) --seconds 1800
	$(BIN)/python -m tests.system.soak --boots 1 --smp 1 2 4 8 --run loads,all,$(SOAK_LOAD_SECONDS) --seconds 1800
	$(BIN)/python -m tests.system.litmus --seconds $(SOAK_SECONDS)
	$(BIN)/python -m tests.system.litmus --seconds $(SOAK_SECONDS) --late
	$(BIN)/python -m tests.fuzz.instructions --count $(SOAK_INSTRUCTIONS)
	$(BIN)/python -m tests.system.moving --moves 1000 --smp 4
	$(BIN)/python -m tests.system.moving --moves 200 --smp 2 --linux

lint: $(DEVELOPMENT) ## Style, types and the direction of imports.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

build: $(DEVELOPMENT) ## The C engine core and the guests again.
	$(BIN)/python setup.py --quiet build_native --inplace

anatomy: $(DEVELOPMENT) ## The numbers of the lines that docs/anatomy.md links to.
	$(BIN)/python -m tests.anatomy

conformance: $(DEVELOPMENT) $(COMPILED) ## The conformance guests on mpvm and on QEMU, and docs/conformance.md from it.
	$(BIN)/python -m tests.system.conformance

help: ## This list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean: ## Everything that was built or fetched.
	rm -rf $(VENV) build dist .cache *.egg-info workers/engine/abi.h workers/engine/*.so mpvm/guests/*.elf
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "mpvm needs Python 3.11 or later: make PYTHON=python3.11 is right" >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip" || \
		{ echo "$(PYTHON) has no venv: apt-get install python3-venv is right on Debian" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(NATIVE) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(DEVELOPMENT): $(NATIVE) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ $(INSTALLED)

# pip compiles what it copies, but an editable install stays here; where PYTHONDONTWRITEBYTECODE is set
# every start would compile every module again.
$(COMPILED): $(PYTHON_SOURCES) | $(BIN)/python
	$(BIN)/python -m compileall -q mpvm workers
	touch $@
