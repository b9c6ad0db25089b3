# The commands of the README. `make run` needs Python 3.11 or newer and pip; a C++ compiler makes it faster.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
MADE_FROM := pyproject.toml constraints.txt hatch_build.py scripts/torch_build.py $(wildcard limelight/quant/native/*)

.PHONY: run page test clients fuzz lint docs mutants bench clean

run: .venv/installed
	@$(BIN)/limelight look "When Tom and Anna went to the store, Tom gave the money to" --seed 2

page: .venv/installed
	@$(BIN)/limelight page

test: .venv/installed-test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

# The server by all its clients, those included that `make test` finds too large; by a router, where there is one.
clients: .venv/installed-clients
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/serve/api

# Spoilt files of every format, opened and run: `make fuzz FILES=100 FORMATS="gguf config" SEED=3`; a seed is drawn and
# printed where none is given.
fuzz: .venv/installed-test
	@$(BIN)/python tests/fuzz $(FORMATS) $(FILES:%=--files %) $(SEED:%=--seed %)

lint: .venv/installed-lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# The documentation as a site in build/site, which opens from the disk; a broken link ends it.
docs: .venv/installed-docs
	@$(BIN)/python scripts/commands_page.py
	@$(BIN)/zensical build --clean --strict

# Small changes to the code, one at a time: do the tests notice? An hour on one core; `make mutants SAMPLE=30` asks less.
mutants: .venv/installed-mutation
	@$(BIN)/python scripts/mutants.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) --anew

# Half an hour on two cores, and some minutes before that to build llama.cpp; `make bench PARTS=decode` measures less.
bench: .venv/installed-bench .venv/llama.cpp
	@$(BIN)/python -m benchmarks $(PARTS)

clean:
	rm -rf .venv limelight/quant/_native.so

# torch first, in the build that fits the machine: scripts/torch_build.py says which, and its size.
.venv/installed: $(MADE_FROM)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "limelight needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@echo "Installing limelight into .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) $$($(BIN)/python scripts/torch_build.py) torch
	@$(PIP) --editable .
	@touch $@

# Peers for the benchmarks alone, llama.cpp built for this very machine. Where one cannot be, its rows say so; `make
# clean` or removing the mark tries again. docs/benchmarks.md says how to have ik_llama.cpp built for the machine, too.
.venv/llama.cpp: .venv/installed-bench
	@echo "Building llama.cpp to measure against (once; some minutes)"
	@CMAKE_ARGS=-DGGML_NATIVE=ON $(PIP) llama-cpp-python || echo "llama.cpp cannot be built; measuring without it"
	@for peer in openvino-genai ik-llama-cpp-python; do $(PIP) $$peer || echo "$$peer cannot be installed; measuring without it"; done
	@touch $@

.venv/installed-%: .venv/installed
	@$(PIP) --editable '.[$*]'
	@touch $@
