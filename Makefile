# What a person runs here; .ci/run calls the same targets. Each does its own set-up, in .venv.
PYTHON ?= python3
CONFIG ?= configs/4cpu.yaml
PYTEST_ARGS ?= -n auto
BENCHMARKS_ARGS ?= --quick

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development
COMPILED := $(VENV)/.compiled

NATIVE := setup.py pyproject.toml $(wildcard mpvm/abi/*.py workers/engine/*.c) \
	$(filter-out workers/engine/abi.h,$(wildcard workers/engine/*.h)) \
	$(shell find mpvm/guests -name "*.[chS]" -o -name "*.ld" -o -name build.py)

PYTHON_SOURCES := $(shell find mpvm workers -name "*.py")

.PHONY: run linux test benchmarks lint build clean

run: $(INSTALLED) $(COMPILED) ## The main job: four vCPU processes run the guest that comes with the package.
	$(BIN)/mpvm run $(CONFIG)

linux: $(DEVELOPMENT) $(COMPILED) ## Debian's kernel on four vCPUs, to a shell. Ctrl-A x ends it.
	mkdir -p .cache/linux
	cp "$$($(BIN)/python -c "from tests.system import debian; print(debian.kernel('cloud'))")" .cache/linux/vmlinuz
	cp "$$($(BIN)/python -m tests.system.initramfs)" .cache/linux/initramfs.cpio
	$(BIN)/mpvm run configs/linux-4cpu.yaml

test: $(DEVELOPMENT) $(COMPILED) ## All tests.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

benchmarks: $(DEVELOPMENT) $(COMPILED) ## mpvm beside QEMU, in about two minutes (docs/benchmarks.md).
	$(BIN)/python -m benchmarks $(BENCHMARKS_ARGS)

soak: $(DEVELOPMENT) $(COMPILED) ## The long forms of the tests: 50 minutes or more.
	$(BIN)/python -m tests.system.soak --boots 20 --smp 4
	$(BIN)/python -m tests.system.soak --boots 1 --smp 4 --run loads,all,15 --run loads,together,345 --seconds 1800
	$(BIN)/python -m tests.system.soak --boots 1 --smp 1 2 8 --run loads,all,5 --seconds 1800
	$(BIN)/python -m tests.system.litmus --seconds 600
	$(BIN)/python -m tests.system.litmus --seconds 600 --late

lint: $(DEVELOPMENT) ## Style, types and the direction of imports.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

build: $(DEVELOPMENT) ## The C engine core and the guests again.
	$(BIN)/python setup.py --quiet build_native --inplace

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
