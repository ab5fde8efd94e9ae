# make demo: a small study from nothing. make test: everything that is checked. Both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.train -m experiment=quickstart \
	    init=imagenet,random subset=0.3,1.0 fold=0,1,2,3 hydra/launcher=local
	MERGEREXP_ROOT=$(DEMO) $(BIN)/python -m mergerexp.aggregate
	@echo "The 16 runs in MLflow: $(BIN)/mlflow ui --backend-store-uri sqlite:///$(DEMO)/mlflow.db"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --durations=10

clean:
	rm -rf $(VENV) $(DEMO)
