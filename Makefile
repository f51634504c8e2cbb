# `make` alone shows what there is. Needs Python 3.11 or newer; the rest goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help run test lint type bench chaos migrate manage shell lock

PYTHON ?= python3
IN := .venv/bin/python

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Tied to make (15 is SIGTERM): when make is killed, the relay stops too.
run: ## set up .venv and run the whole relay with its demo, until Ctrl-C
	@$(PYTHON) standalone/environment.py
	@exec $(IN) -I -S standalone/tether.py 15 $$PPID - $(IN) -m standalone run

# Three at once on two cores too: a quarter of the time tests wait for processes that they have started.
test: ## set up .venv and run every test (ARGS="-k name" for some)
	@$(PYTHON) standalone/environment.py --dev
	@$(IN) -m pytest -n 3 --dist loadgroup $(ARGS)

lint: ## ruff's rules and format
	@$(PYTHON) standalone/environment.py --dev
	@$(IN) -m ruff check
	@$(IN) -m ruff format --check

type: ## mypy --strict
	@$(PYTHON) standalone/environment.py --dev
	@$(IN) -m mypy

bench: ## measure, print and store in bench/results (ARGS="--quick" for less)
	@$(PYTHON) standalone/environment.py --dev
	@$(IN) -m bench $(ARGS)

chaos: ## kill the running product at random and check that nothing is lost (ARGS="--requests 1000 --seed 7")
	@$(PYTHON) standalone/environment.py --dev
	@$(IN) -m tests.chaos $(ARGS)

migrate: ## apply migrations to DATABASE_URL, or to the data in RELAY_HOME
	@$(PYTHON) standalone/environment.py
	@$(IN) -m standalone manage migrate

manage: ## any manage.py command, e.g. make manage ARGS="catalog export"
	@$(PYTHON) standalone/environment.py
	@$(IN) -m standalone manage $(ARGS)

shell: ## Django's shell on the same data
	@$(PYTHON) standalone/environment.py
	@$(IN) -m standalone manage shell

lock: ## pin requirements*.in into requirements*.txt, with hashes
	@$(PYTHON) standalone/environment.py --dev
	@uv=$$(command -v .venv/bin/uv || command -v uv) || { echo "make lock needs uv"; exit 1; }; \
	for name in requirements requirements-standalone requirements-dev requirements-uv requirements-clients; do \
		$$uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $$name.in -o $$name.txt || exit 1; \
	done
