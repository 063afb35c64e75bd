# Two commands do everything on a machine that has only Python with venv and pip: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
# The outage tests bring a GCS back from Redis; without a redis-server they are left out, and that is said.
WITHOUT_REDIS := $(shell command -v redis-server >/dev/null || echo '-m "not redis"')

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak chaos bench bench-quick check format wheel clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

setup: $(READY)  ## make the virtual environment

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## watch it work on a local cluster (under 90 s)
	$(BIN)/python scripts/demo.py

test: $(READY)  ## run the whole test suite, on two real Ray clusters side by side
	@$(if $(WITHOUT_REDIS),echo "no redis-server here: the tests of GCS and head outages are left out")
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(WITHOUT_REDIS)

soak: MINUTES ?= 10
soak: SEED ?= 1
soak: $(READY)  ## crash it at random for MINUTES (10) from SEED (1), then hostile inputs and the memory curve
	$(BIN)/python scripts/soak.py --minutes $(MINUTES) --seed $(SEED)

check: $(READY)  ## lint, types over every file, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/check_types.py
	PYTHONPATH=. $(BIN)/lint-imports

chaos: MINUTES ?= 3
chaos: $(READY)  ## kill every part of a real cluster for MINUTES (3) with SEED, then prove that nothing is lost; needs redis-server
	$(BIN)/python scripts/chaos.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: $(BENCH_READY)  ## measure every claim about speed next to its rivals, into docs/performance.md (over an hour)
	$(BIN)/python scripts/bench/run.py $(if $(ROWS),--rows $(ROWS)) $(if $(KEEP),--keep)

bench-quick: $(BENCH_READY)  ## see that every row of the benchmark still runs
	$(BIN)/python scripts/bench/run.py --quick $(if $(ROWS),--rows $(ROWS))

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $(BENCH_READY)

format: $(READY)  ## format all files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

clean:  ## remove what the commands above made
	rm -rf $(VENV) dist build *.egg-info
