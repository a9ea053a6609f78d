# mtlbench: `make` lists what can be made. Needs Python 3.11 (or 3.12, 3.13) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PEERS := .peers/bin
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
export MLFLOW_DISABLE_TELEMETRY := true
export MPLBACKEND := Agg
unexport PYTHONDONTWRITEBYTECODE  # tests start hundreds of processes, each of which would compile all that it imports

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-lowest test-peers mutation torture check docs docs-serve image bench-train bench-ingest bench-metrics lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s%s\n", $$1, $$2}'

setup: .venv/.ready  ## a virtual environment with the locked versions

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup  ## the main job on a small simulated Ali-CCP: simulate, prepare, train DEPHN, measure, track
	$(BIN)/mtlbench train model=dephn dataset=aliccp dataset.source=simulated

test: setup  ## all tests but the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long and not peers" -n auto --dist worksteal

test-long: setup  ## the long tests too: kill and resume, compiled models, recovery of planted structure, more fuzzing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-lowest: .lowest/.ready  ## all tests but the long ones with the lowest versions that pyproject.toml allows (torch aside)
	OMP_NUM_THREADS=1 .lowest/bin/python -m pytest -m "not long and not peers" -n auto --dist worksteal

.lowest/.ready: pyproject.toml scripts/lowest_versions.py
	$(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.lowest/bin/python scripts/lowest_versions.py > .lowest/constraints.txt
	.lowest/bin/python -m pip install --quiet --disable-pip-version-check -c .lowest/constraints.txt -e ".[dev,export,parallel,balancing,tune]"
	@touch $@

test-peers: .peers/.ready  ## models beside those of deepctr-torch and torch-rechub: same weights, same outputs and gradients
	$(PEERS)/python -m pytest -m peers tests/peers

mutation: .mutation/.ready  ## mutation testing: 300 mutants of metrics, statistics, selection, balancing; MUTATION="--only metrics" for a part
	.mutation/bin/python scripts/mutation.py $(MUTATION)

.mutation/.ready: .venv/.ready
	$(PYTHON) -m venv .mutation
	.mutation/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.mutation/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[dev,balancing,mutation]"
	@touch $@

torture: setup  ## fault injection: kills, full disks, damaged files, broken servers; TORTURE="--long" for all of it
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.torture $(TORTURE)

check: setup  ## style, types and import contracts
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: setup  ## the documentation site in build/site; a broken link or reference is an error
	$(DOCS) build --strict

docs-serve: setup  ## the documentation site on this machine, built again when a page changes
	$(DOCS) serve --livereload

image:  ## a container image with the locked versions; BASE=<a CUDA image> for GPUs (docs/howto/container.md)
	docker build $(if $(BASE),--build-arg BASE=$(BASE)) --tag mtlbench .

bench-train: .peers/.ready  ## training throughput beside deepctr-torch and torch-rechub, and this machine's limits
	$(PEERS)/python scripts/bench_train.py

bench-metrics: setup  ## metrics within groups: ten million rows in a million groups, beside a loop over the groups
	$(BIN)/python scripts/bench_metrics.py

bench-ingest: setup  ## raw files of six data sets to prepared stores: rows/s and peak memory, beside a plain Python loop
	$(BIN)/python scripts/bench_ingest.py

.peers/.ready: .venv/.ready
	$(PYTHON) -m venv .peers
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[bench,balancing]" pytest hypothesis
	@touch $@

lock:  ## write requirements.lock anew from the ranges in pyproject.toml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0
	build/lock/bin/python -m pip install --quiet ".[dev,docs,export,parallel,slurm,server,balancing,tune]"
	build/lock/bin/python -m pip freeze --exclude mtlbench | sed 's/+cpu//' > requirements.lock
	rm -rf build/lock

clean:  ## remove environments, caches, and what was made of raw files; data/raw stays
	rm -rf .venv .peers .lowest .mutation build dist data/simulated data/store data/checksums.json runs tables .pytest_cache .ruff_cache
