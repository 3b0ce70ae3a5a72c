.DEFAULT_GOAL := help
.PHONY: help run compose test test-fast lint types pytest faults gpu setup setup-dev clean

# Tools run through it: their own first lines contain the path where .venv was made, and a tree may move.
python := .venv/bin/python

## make run     train what cluster.yaml says; sets up .venv the first time
##                MODE=async       the same file, asynchronously
##                FILE=my.yaml     another cluster file
##                ARGS='...'       anything else that `launcher run` takes: ARGS='--set cluster.worker.tasks=3'
##              make exits with 2 for every failure; .venv/bin/launcher has exit codes of its own
run: setup
	@exec $(python) -m launcher run $(if $(FILE),'$(FILE)') $(if $(MODE),--set 'mode=$(MODE)') $(ARGS)

## make compose  the same run in docker-compose, a container for each task; takes what `make run` takes
##                BASE_IMAGE=...   build the image from this one; BUILD_NETWORK=host: with this machine's network
compose: setup
	@exec $(python) -m launcher run --on compose $(if $(FILE),'$(FILE)') $(if $(MODE),--set 'mode=$(MODE)') $(ARGS)

## make test    lint, types, import contracts, then all tests; ARGS='-k placement' goes to pytest
test: setup-dev lint
	@$(MAKE) --no-print-directory -j2 types pytest

## make test-fast  the same without any TensorFlow cluster or container, for daily work
test-fast: setup-dev lint
	@$(MAKE) --no-print-directory -j2 types pytest TESTS='tests/unit tests/docs'

lint:
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) .venv/bin/lint-imports --no-logo

types:
	$(python) -m mypy

# Clusters take turns (tests/conftest.py), and everything else runs beside them; they fill two cores.
pytest:
	$(python) -m pytest -n auto --no-loadscope-reorder --durations=20 $(TESTS) $(ARGS)

## make faults  inject faults into running clusters at random moments; needs an hour, and root
##                N=200 SEED=7     how many faults, and which ones
##                START=spawn      how tasks are started: auto, fork or spawn
##                JOBS=2           two at once, in half of the time if cores and memory allow it
faults: setup-dev
	$(python) -m tests.faults --runs $(or $(N),200) --seed $(or $(SEED),7) --start $(or $(START),auto) --jobs $(or $(JOBS),1) $(ARGS)

## make gpu     check and measure what needs a machine with NVIDIA GPUs
gpu: setup-dev
	$(python) -m pytest -v tests/gpu/check_gpu.py $(ARGS)

## make setup   prepare .venv with what running needs, and do nothing else
##                PYTHON=python3.12   with this interpreter; otherwise the first of 3.11 to 3.13 on PATH
setup:
	@.make/setup.sh

## make setup-dev  the same with the development tools that test, faults and gpu need
setup-dev:
	@.make/setup.sh dev

## make clean   remove .venv and every cache; runs are kept
clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find launcher jobs tests -name __pycache__ -prune -exec rm -rf {} +

help:
	@sed -n 's/^## \{0,1\}//p' Makefile
