# `make` lists the targets. Everything is set up on the first use of any of them.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := bash

BIN := .venv/bin
STAMP := .venv/.set-up
PEERS := .venv/peers
PACKAGES := schemas runtime command_api query_api projector executor simulator cli
# What a developer passes on: make test ARGS="-k replay -x"
ARGS ?=

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP)  ## set up .venv, Java, Kafka and MongoDB (needs Python >= 3.11 and a network)

$(STAMP): requirements.lock tools/setup.sh tools/uv.lock.txt cli/src/darkroom/cli/stack/kafka-jars.json $(wildcard */pyproject.toml)
	@bash tools/setup.sh
	@touch $@

.PHONY: demo
demo: $(STAMP)  ## start a stack, run jobs through it, rebuild the read model, stop
	@$(BIN)/darkroom demo $(ARGS)

.PHONY: up
up: $(STAMP)  ## start the whole stack in the foreground (Ctrl-C stops it)
	@$(BIN)/darkroom up $(ARGS)

.PHONY: down
down: $(STAMP)  ## stop the stack that `make up` started elsewhere
	@$(BIN)/darkroom down

.PHONY: doctor
doctor: $(STAMP)  ## check each part, and say how to mend it
	@$(BIN)/darkroom doctor

.PHONY: replay
replay: $(STAMP)  ## build the running stack's read models again from the log
	@$(BIN)/darkroom replay $(ARGS)

.PHONY: check
check: $(STAMP)  ## lint, formatting, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(addprefix -p darkroom.,$(PACKAGES))
	$(BIN)/lint-imports --no-logo

.PHONY: test
test: $(STAMP)  ## all ordinary tests, in two processes, each with a Kafka and a MongoDB of its own (ARGS="-n 0" for one)
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

.PHONY: test-long
test-long: $(STAMP)  ## the tests that take longer than the ordinary run allows
	$(BIN)/pytest -m long --timeout 1800 $(ARGS)

.PHONY: test-compose
test-compose: $(STAMP)  ## bring up docker-compose.yaml, run jobs through it, take it down (needs Docker)
	$(BIN)/pytest -m compose --timeout 1800 $(ARGS)

.PHONY: campaign
campaign: $(STAMP)  ## rounds of conflicting commands on processes that die and freeze (ARGS="--rounds 30 --replicas 3")
	PYTHONPATH=tests $(BIN)/python -m campaign $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP)  ## 100,000 generated requests to both APIs of a stack of its own (ARGS="5000 --workers 2 --seed 7")
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

.PHONY: bench bench-whole-way bench-commands bench-projection bench-replay bench-peers
bench: bench-whole-way bench-commands bench-projection bench-replay  ## the benchmarks; results and how to read them are in benchmarks/README.md

bench-whole-way: $(STAMP)  ## POST to readable result: jobs per second, latency, and where the time goes
	$(BIN)/python benchmarks/whole_way.py $(ARGS)

bench-commands: $(STAMP)  ## the command path against its parts and, if they are installed, its peers
	$(BIN)/python benchmarks/commands.py $(ARGS)

bench-projection: $(STAMP)  ## the live projector against its parts and a peer; append to readable
	$(BIN)/python benchmarks/projection.py $(ARGS)

bench-replay: $(STAMP)  ## replay against a bare loop and the live projector; one million events
	$(BIN)/python benchmarks/replay.py $(ARGS)

bench-peers: $(STAMP)  ## install what the benchmarks compare with (Celery, granian, eventsourcing) beside the environment
	@rm -rf $(PEERS)
	@uv="$$(command -v uv || echo "$${XDG_CACHE_HOME:-$$HOME/.cache}/darkroom/uv/bin/uv")"; \
	"$$uv" pip install --quiet --python $(BIN)/python --target $(PEERS) --require-hashes -r benchmarks/peers.lock.txt
	@command -v redis-server >/dev/null || echo "Celery's cases need a redis-server on the PATH: apt-get install redis-server"
	@command -v postgres >/dev/null || echo "One case of eventsourcing needs a postgres on the PATH: apt-get install postgresql"

.PHONY: models
models: $(STAMP)  ## train the bundled models again (some minutes)
	$(BIN)/python models/train.py $(ARGS)

.PHONY: format
format: $(STAMP)  ## format the code, and mend what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock:  ## resolve the dependencies afresh into requirements.lock
	uv lock $(ARGS)
	uv export --quiet --all-packages --all-groups --no-emit-workspace --no-header --format requirements-txt -o requirements.lock
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 tools/uv.in -o tools/uv.lock.txt
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 benchmarks/peers.in -o benchmarks/peers.lock.txt

.PHONY: clean
clean:  ## remove .venv and the tools' caches (the user's cache of jars stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
