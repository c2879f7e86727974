# The verbs of this repository. Each sets up what it needs in .venv, once; nothing outside this folder is written
# (but for pip's and the test kernels' caches).

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip

.PHONY: help run test check bench kernel lab parity clean

help:
	@echo 'make run      play every scene on the small kernel   (ARGS="null-read", ARGS="--kernel vmlinux")'
	@echo 'make test     run the tests; the first time fetches kernels of Debian (ARGS="-m \"not kernel\"" for none)'
	@echo 'make check    format, lint, types, layers'
	@echo 'make bench    measure: faulting calls a second, walks a second, the commands'
	@echo 'make kernel   rebuild the small kernel with gcc'
	@echo 'make lab      boot real kernels under QEMU and record their page faults again   (ARGS="fork anon-read")'
	@echo 'make parity   run the recorded programs here and compare fault by fault   (ARGS="--kernel 6.1 fork")'
	@echo 'make clean    remove what these verbs made here'
	@echo 'PYTHON=…      which Python to set up with (3.11 or later; now $(PYTHON))'

run: $(VENV)/run.stamp
	@$(BIN)/pagefault run $(ARGS)

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(VENV)/dev.stamp
	@$(BIN)/python bench/run.py $(ARGS)

kernel: $(VENV)/run.stamp
	@$(MAKE) --no-print-directory -C kernel PYTHON=$(abspath $(BIN)/python)

lab: $(VENV)/dev.stamp
	@$(BIN)/python -m lab.record $(ARGS)
	@$(BIN)/python -m lab.oops

parity: $(VENV)/dev.stamp
	@$(BIN)/python -m lab.parity $(ARGS)

clean:
	rm -rf $(VENV) dist kernel/build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# $(call quietly,what,command): a dot a second, and the command's own words only if it fails.
define quietly
@printf '%s ' '$(1)'; log=$$(mktemp); ($(2)) >"$$log" 2>&1 & pid=$$!; \
trap 'kill $$pid 2>/dev/null; rm -f "$$log"' EXIT; trap 'exit 130' INT TERM; \
while kill -0 $$pid 2>/dev/null; do printf .; sleep 1; done; \
if wait $$pid; then echo ' done'; else echo ' failed:'; cat "$$log"; exit 1; fi
endef

define NO_PYTHON
pagefault needs Python 3.11 or later, and $(PYTHON) is not one. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)
endef

define NO_VENV
$(PYTHON) cannot make a virtual environment: neither ensurepip nor pip is there. On Debian and Ubuntu: apt-get install python3-venv
endef

# Debian keeps ensurepip in a package of its own. Where it is missing, a pip outside the environment fills it as well.
$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo '$(NO_PYTHON)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) -m pip --version >/dev/null 2>&1 || { echo '$(NO_VENV)' >&2; exit 1; }
	$(call quietly,Making $(VENV),if $(PYTHON) -c 'import ensurepip'; then $(PYTHON) -m venv --clear $(VENV); else \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; fi)
	@touch $@

$(VENV)/run.stamp: pyproject.toml $(VENV)/made.stamp
	$(call quietly,Installing pagefault and what it needs (50 MB; once),$(PIP) install -e .)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/made.stamp
	$(call quietly,Installing pagefault and its development tools (160 MB; once),$(PIP) install -e '.[dev]')
	@touch $(VENV)/run.stamp $@
