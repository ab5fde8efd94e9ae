# make demo: a small study from nothing. make test: all that is checked. make check: what of it is quick, and needs no
# Slurm, browser or training. make docs: the documentation. make bench: how fast it is beside its peers. Each sets up
# .venv itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# A field as a survey has it: galaxies that no network has seen, of which one in twenty is a merger.
FIELD := data.name=field data.simulator.seed=1 data.simulator.n_mergers=40 data.simulator.n_noninteracting=760
# Two more than there are cores, since tests on Slurm mostly wait.
WORKERS := $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 2)")
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo check test lint bench docs clean

# The demo needs less than the tests do.
$(VENV)/demo: EXTRA = train
$(VENV)/dev: EXTRA = dev
$(VENV)/demo $(VENV)/dev: pyproject.toml constraints.txt
	@echo "Installing PyTorch, Lightning, MLflow and the rest into $(VENV): two to five minutes without a word, 7 GB."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) '.[$(EXTRA)]'
	@touch $(VENV)/demo $@

demo: $(VENV)/demo
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.train -m experiment=quickstart \
	    init=imagenet,random subset=0.5,1.0 fold=0,1,2,3 hydra/launcher=local
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.aggregate
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.export method=imagenet
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.prepare data=simulated_tiny $(FIELD)
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.predict name=field \
	    model_folder=$(DEMO)/models/mergerexp-imagenet images=$$(ls -d $(DEMO)/datasets/field-*)
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.sample catalogue=mock draws=19

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/numpydoc lint mergerexp/analysis/*.py mergerexp/analysis/*/*.py

check: TESTS = -m "not slurm and not browser and not training and not slow"

# The types are checked beside the tests, and what is wrong with them is told after these.
check test: lint
	@$(BIN)/mypy >$(VENV)/types.log 2>&1 & types=$$!; \
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup --durations 15 $(TESTS); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/types.log; exit $$((tests + types))

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.bench $(if $(TIMM_TRAIN),--timm-train $(TIMM_TRAIN))

docs: $(VENV)/dev
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) $(DEMO) docs/_build bench
