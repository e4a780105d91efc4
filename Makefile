# `make repro` on a machine with Python 3.11 (or 3.12), git and make only: sets everything up and makes the reports.

TORCH := torch==2.13.0
UV := uv==0.13.9
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $(name))))

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RENDERS := $(VENV)/.renders

.PHONY: help repro test test-quick compare bench-gpu headline-gpu lint lock clean
.DELETE_ON_ERROR:

help:
	@echo "make repro   set up, then run what is out of date and make reports/index.html"
	@echo "make test    set up, then run the tests, with the whole graph at smoke scale"
	@echo "make test-quick  the tests without the graph and those that take long"
	@echo "make compare the experiments of dvc exp run, side by side: reports/experiments.html"
	@echo "make lint    ruff"
	@echo "make lock    requirements.in -> requirements.lock"
	@echo "make bench-gpu     nine minutes on a GPU: steps at the paper's sizes, into benchmarks/gpu.md"
	@echo "make headline-gpu  ten minutes of Figures 2 and 3 at gpu scale; call again until nothing is left"
	@echo "make clean   remove the environment and bytecode; data, runs and reports stay"

# The launcher must know which process to outlive not even for a moment: $$PPID is make.
repro: $(READY) $(RENDERS)
	@LAUNCHED_BY=$$PPID exec $(BIN)/python -m stages.repro

# Whole files to a worker, so that they share what their fixtures make; the longest are collected first. A thread each: workers are the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(READY) $(RENDERS)
	@$(PYTEST)

test-quick: $(READY)
	@$(PYTEST) -m "not graph and not slow"

compare: $(READY)
	@$(BIN)/python -m stages.compare

bench-gpu: $(READY)
	@$(BIN)/python -m benchmarks.gpu

headline-gpu: $(READY) $(RENDERS)
	@$(BIN)/python -m stages.headline --scale gpu --minutes 10

lint: $(READY)
	@$(BIN)/ruff check .

clean:
	rm -rf $(VENV) src/*.egg-info .pytest_cache .ruff_cache
	find src stages tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs several times faster than pip, but does not read pip's settings; where it finds no packages, pip does the work.
# Bytecode is made at once, as pip makes it: a run has dozens of short processes, and where Python is told to write none each would compile anew.
# Whatever pip is set up with also decides which build of torch is taken; the lock has all that torch itself needs.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; found $$(python3 --version 2>&1 || true). Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make environments: install its venv module (python3-venv on Debian and Ubuntu)"; exit 1; }
	@echo "Installing packages into $(VENV) (once; a few minutes)"
	@$(BIN)/pip install -qq --disable-pip-version-check $(UV)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --compile-bytecode --no-deps --require-hashes -r requirements.lock \
		|| $(BIN)/pip install -qq --no-deps --require-hashes -r requirements.lock
	@echo "Installing $(TORCH)"
	@$(BIN)/pip install -qq $(TORCH)
	@$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(RENDERS): $(READY) stages/system_libraries.sh
	@sh stages/system_libraries.sh $(BIN)/python
	@touch $@

# The packages that come with torch differ between its builds, as torch itself does, and stay out of the lock.
TORCH_BRINGS := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc \
	cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

lock: $(READY)
	@echo "$(TORCH)" | cat requirements.in - > $(VENV)/requirements.in
	@UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(addprefix --no-emit-package ,$(TORCH_BRINGS)) \
		$(VENV)/requirements.in -o requirements.lock
