# Everything a person does here. `make` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: help demo test lint audit format kafka bench fuzz clean

help: ## List what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## See the whole product at work; ARGS="--for 90s" ends by itself
	$(BIN)/tocsin demo $(ARGS)

test: lint tools ## All that CI checks: lint, types, tests; ARGS="-k name" picks tests
	$(BIN)/python -m pytest -n auto --dist loadfile tests/unit tests/contract tests/fuzz $(ARGS) \
		|| [ $$? -eq 5 ]  # none of these were picked
	$(BIN)/python -m pytest tests/integration tests/end_to_end $(ARGS) || [ $$? -eq 5 ]

lint: $(VENV)/.dev ## Style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/.dev ## Known vulnerabilities of the packages that Tocsin brings
	$(BIN)/python -m tests.rig.audit

format: $(VENV)/.dev ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

kafka: $(VENV)/.dev ## A real Apache Kafka on localhost:9092, until Ctrl-C
	@$(BIN)/python -m tests.rig.setup kafka_jars
	$(BIN)/python -m tests.rig.kafka

bench: $(VENV)/.dev ## What the README claims, measured on this machine
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.dev ## A million odd payloads; ARGS="decoders --payloads 5000"
	$(PIP) -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(ARGS)

clean: ## Remove all that make has made
	rm -rf $(VENV) .cache build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: tools
tools: $(VENV)/.dev
	@$(BIN)/python -m tests.rig.setup

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is as old as the installation; a changed pyproject.toml installs again.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo
