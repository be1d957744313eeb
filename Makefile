# Needs Python 3.11 or newer, make and a package index; everything else is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
NAME ?=
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# Django 6.0 and later do not run on Python 3.11.
DJANGO ?= $(if $(filter 3.11,$(PYTHON_VERSION)),52,61)

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet
PINS := requirements/constraints.txt
# Empty files in $(VENV) that remember what is installed there; another Python or Django has another name.
MADE := $(VENV)/.made-$(PYTHON_VERSION)
INSTALLED := $(VENV)/.installed-django$(DJANGO)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage stress bench bench-quick django-suite lint format types layers docs clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.13   the interpreter to use (3.11 or newer)"
	@echo "  DJANGO=52|60|61     the Django to use (now $(DJANGO))"
	@echo "  ARGS='-k router'    further arguments for pytest, stress or django-suite"
	@echo "  PORT=8000           where the demo listens"

demo: $(INSTALLED) ## Serve the example site with sample users on 127.0.0.1.
	@exec $(RUN) example/demo.py

test: $(INSTALLED) $(VENV)/.with-test ## Run the whole test suite.
	$(RUN) -m pytest -n 2 --dist worksteal $(ARGS)

coverage: $(INSTALLED) $(VENV)/.with-test ## Run the test suite and report which lines and branches it reaches.
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage report

stress: $(INSTALLED) ## Try to make one user's rows reach another, a million times (minutes).
	$(RUN) -m stress $(ARGS)

django-suite: $(INSTALLED) ## Run Django's own tests with Django's SQLite backend and with ours, and compare.
	$(RUN) -m django_suite $(ARGS)

bench: $(INSTALLED) $(VENV)/.with-test $(VENV)/.with-bench ## Measure dsud beside its alternatives and write benchmarks/results; NAME=tests picks one.
	$(RUN) -m benchmarks $(NAME) --results benchmarks/results $(ARGS)

bench-quick: $(INSTALLED) $(VENV)/.with-test $(VENV)/.with-bench ## Measure with few rounds, against what is usual, in three minutes.
	$(RUN) -m benchmarks --quick $(NAME) $(ARGS)

lint: $(VENV)/.with-lint ## Check style and formatting.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.with-lint ## Format the code and mend what can be mended safely.
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(INSTALLED) $(VENV)/.with-lint ## Check the types.
	$(RUN) -m mypy

# Without its cache, because that misses imports of modules that are new.
layers: $(INSTALLED) $(VENV)/.with-lint ## Check that imports go downwards only.
	$(VENV)/bin/lint-imports --no-cache --no-logo

docs: $(INSTALLED) $(VENV)/.with-docs ## Build the documentation into docs/_build; warnings are errors.
	$(RUN) -m sphinx -n -W --keep-going -q -b html docs docs/_build
	@echo "docs/_build/index.html"

clean: ## Remove everything that make has made, the demo's data too.
	rm -rf $(VENV) .venv-peers docs/_build example/data build dist htmlcov .coverage .coverage.*
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests stress benchmarks django_suite example docs -type d -name __pycache__ -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "dsud needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not a Python that runs')." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),help) PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): $(MADE) pyproject.toml requirements/django$(DJANGO).txt $(PINS)
	@rm -f $(VENV)/.installed-*
	$(PIP) -e . -r requirements/django$(DJANGO).txt -c $(PINS)
	@touch $@

$(VENV)/.with-%: $(MADE) requirements/%.txt $(PINS)
	$(PIP) -r requirements/$*.txt
	@touch $@
