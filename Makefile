# Every target works on a fresh machine: it makes the virtual environment first.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready

# On Linux, torch from PyPI brings gigabytes of CUDA. Without a GPU the build for processors is
# taken; TORCH_INDEX= turns that off, and another index takes another build.
ifeq ($(shell uname -s),Linux)
ifeq ($(shell command -v nvidia-smi || command -v rocminfo),)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
endif
TORCH = $(shell grep -o 'torch>=[^"]*' pyproject.toml)

.PHONY: check test test-tensorrt lint types run bench bench-details soak test-devices test-hosts test-clients screenshots docs thumbnails site dist clean

# What running needs, and nothing else.
$(RUNS): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "Installing streamcam, once: 1.7 GB on disk with torch for processors, 7 GB for NVIDIA"
	@$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) --timeout 15 \
		--retries 1 '$(TORCH)' || echo "No torch from $(TORCH_INDEX): taking that of PyPI")
	$(BIN)/python -m pip install --editable .
	touch $@

$(READY): $(RUNS)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# What CI runs; each in turn, so that the tests have the processor for themselves.
check:
	$(MAKE) test
	$(MAKE) test-tensorrt
	$(MAKE) lint
	$(MAKE) types
	$(MAKE) run ARGS="--duration 10"
	$(MAKE) dist
	$(MAKE) site
	$(MAKE) test-devices
	$(MAKE) test-hosts

# ARGS go to pytest, such as ARGS="-n0 tests/sinks" for one process and some tests.
# Bytecode is kept, whatever the environment says: many tests start processes.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 8 $(ARGS)

# What goes to TensorRT, compiled by NVIDIA's own compiler: no free software, but no card needed.
test-tensorrt: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[check-tensorrt]'
	$(BIN)/python -m pytest tests/engines/test_nvidia_compiler.py tests/engines/test_tensorrt.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# ARGS: what "streamcam run" takes, such as ARGS="--duration 10".
run: $(RUNS)
	$(BIN)/streamcam run $(ARGS)

# Every target that this machine can measure, as a dated page; within ten minutes.
bench: $(READY)
	$(BIN)/streamcam bench targets --write docs/benchmarks $(ARGS)

bench-details: $(READY)
	$(BIN)/streamcam bench pipeline
	$(BIN)/streamcam bench engines
	$(BIN)/streamcam bench live

soak: $(READY)
	$(BIN)/python -m tests.soak $(ARGS)

# On video devices of this kernel, else in a virtual machine that has some; ARGS go to pytest.
test-devices: $(READY)
	tests/devices/run $(ARGS)

# Video over two hosts, which are network namespaces; skipped without root.
test-hosts: $(READY)
	STREAMCAM_TEST_HOSTS=1 $(BIN)/python -m pytest -n0 -rs tests/video/parallel/test_two_hosts.py $(ARGS)

# GUEST: a command to run it under, where this machine has no v4l2loopback.
test-clients: $(READY)
	$(GUEST) env STREAMCAM_PICTURES=docs/images $(BIN)/python -m pytest -s tests/clients

screenshots: $(READY)
	$(BIN)/python -m docs.screenshots $(URL)

# What is made from the code: pages on settings, OSC and the command line, surfaces for controllers.
docs: $(READY)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/controllers.py

# The thumbnails of presets, after a new look or a new nano.
thumbnails: $(READY)
	$(BIN)/python docs/thumbnails.py

# The documentation as a site, in build/site; a link that leads nowhere is an error.
site: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site

# The sdist and the wheel, checked, installed into a fresh environment and put on air from there.
dist: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[dist]'
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	STREAMCAM_WHEEL="$$(echo dist/*.whl)" $(BIN)/python -m pytest tests/packaging/test_wheel.py

clean:
	rm -rf $(VENV) build dist out
