# Every target sets up all it needs in .venv; the machine needs python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 0
SEEDS ?= 1
EXAMPLES ?= 3000
READY := $(VENV)/.ready
# Two a core: tests that start processes wait about half of their time.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

# Each takes a run of neighbours, which share what they set up, and then from whoever has most left.
SHARED := -n $(WORKERS) --dist worksteal

.PHONY: demo test examples unit coverage check messages pictures world planted hosts bench lock clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml .ci/requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## a pretend host, local sinks and the daemon, for about 30 seconds
	$(BIN)/sidecar demo

test: $(READY)
	$(BIN)/python -m pytest $(SHARED) $(TESTS)

examples: $(READY)  ## every property with many examples, others at each run
	CI= EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest $(SHARED) -o faulthandler_timeout=0 -m hypothesis $(TESTS)

unit: $(READY)  ## without the tests that start processes
	$(BIN)/python -m pytest $(SHARED) -m "not process" $(TESTS)

coverage: $(READY)  ## the whole suite, measured in every process; fails under pyproject's fail_under
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SHARED) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/sidecar check rules
	$(BIN)/sidecar test rules

messages: $(READY)  ## writes the reviewed messages of the shipped rules anew: tests/render/shipped
	REWRITE=1 $(BIN)/python -m pytest -q tests/render/test_shipped_messages.py

pictures: $(READY)  ## README's pictures, drawn by Chromium
	PYTHONPATH=tests $(BIN)/python -m support.preview docs/images

world: $(READY)  ## SEED=7: one seed, with the shortest script that fails; SEEDS=100000: so many
	PYTHONPATH=tests SEED=$(SEED) SEEDS=$(SEEDS) $(BIN)/python -m world.world

planted: $(READY)  ## faults of old, planted again: the world finds each within 1,000 seeds
	$(BIN)/python tests/world/planted.py

hosts: $(READY)  ## 200 hosts of a fleet on one database, and what they cost it
	FLEET_HOSTS=200 $(BIN)/python -m pytest -q -s tests/fleet/test_many_hosts.py

bench: $(READY)
	PYTHONPATH=tests $(BIN)/python -m bench.run

lock:  ## pins with hashes and no index address; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra postgresql pyproject.toml -o .ci/requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra dev -c .ci/requirements.txt pyproject.toml -o .ci/requirements-dev.txt

clean:
	rm -rf $(VENV)
