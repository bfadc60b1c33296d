# Everything sets itself up: a fresh machine needs Python 3.11 and a network to the package registries.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := uv==0.13.9

DATA    ?=
FOR     ?=
TRAFFIC ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test test-quick chaos check lint format lock kafka-lock schema docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once; about a minute) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "canarec needs Python 3.11: PYTHON=/path/to/python3.11 make …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements.lock | grep -E '^(Installing|Successfully)' | cut -c1-100 || true
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import faust, implicit, confluent_kafka, streams.cli'
	@touch $@

setup: $(READY) ## the virtual environment, from the lock file with hashes

run: $(READY) ## everything on this machine: make run [DATA=<MovieLens folder>] [FOR=<seconds>] [TRAFFIC=<requests/s>]
	@exec $(BIN)/canarec up $(if $(DATA),--data "$(DATA)") $(if $(FOR),--for $(FOR)) $(if $(TRAFFIC),--traffic $(TRAFFIC))

test: $(READY) ## all tests, with a real Kafka broker
	@exec $(BIN)/python -m pytest

test-quick: $(READY) ## the tests that need no broker
	@exec $(BIN)/python -m pytest tests --ignore=tests/broker --ignore=tests/browser --ignore=tests/chaos

.PHONY: containers
containers: $(READY) ## the containers with a real Docker engine: built, started, asked, killed, scaled, stopped; minutes
	@exec $(BIN)/python -m pytest tests/compose -m containers

.PHONY: browser
browser: $(READY) ## the pages in a real Chromium, which must be there; where there is one, also in `make test`
	@exec env CANAREC_BROWSER_NEEDED=1 $(BIN)/python -m pytest tests/browser

chaos: $(READY) ## faults under traffic: workers and brokers killed, paused, away; minutes (a short form is in `make test`)
	@exec $(BIN)/python -m pytest tests/chaos -m chaos

.PHONY: release
release: $(READY) ## a damaged, a better and an identical candidate, judged without anybody; 2 minutes (one of them is in `make test`)
	@exec $(BIN)/python -m pytest tests/broker/test_canary_release.py -m release

.PHONY: bench bench-all study-drift
bench: $(READY) ## canarec beside its peers in one run, and scoring alone; 10 minutes [ARGS="--rounds 1 --warm 5": 3]
	$(BIN)/python -m tests.bench.run $(ARGS)

bench-all: bench ## also growth, two million requests, catching up, archive, training, a profile …; 70 minutes, 8 GB of disk
	$(BIN)/python -m tests.bench.growth
	$(BIN)/python -m tests.bench.soak
	$(BIN)/python -m tests.bench.reload
	$(BIN)/python -m tests.bench.api
	$(BIN)/python -m tests.bench.backfill
	$(BIN)/python -m tests.bench.archive
	$(BIN)/python -m tests.bench.training
	$(BIN)/python -m tests.bench.provenance
	$(BIN)/python -m tests.bench.windows
	$(BIN)/python -m tests.bench.analysis
	$(BIN)/python -m tests.bench.histories
	$(BIN)/python -m tests.bench.profile

study-drift: $(READY) ## how soon drift is found, how often falsely (docs/retraining.md); 4 minutes
	$(BIN)/python -m pipelines.studies.drift

.PHONY: study
study: $(READY) ## how often the canary's verdicts err, simulated; tables and plots into docs/canary.md; a minute
	$(BIN)/python -m pipelines.studies.canary

.PHONY: study-fairness study-loop
study-fairness: $(READY) ## what the mitigations do to the gap between men and women, and what they cost; into docs/fairness.md; 3 minutes
	$(BIN)/python -m pipelines.studies.fairness

study-loop: $(READY) ## ten retrainings on what people chose from their lists: what amplifies, what damps; into docs/fairness.md; 2 minutes
	$(BIN)/python -m pipelines.studies.loop

lint: $(READY) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test ## all that a change must pass

schema: $(READY) ## config.schema.json, from the types in models/config.py
	$(BIN)/canarec config schema > config.schema.json

docs: $(READY) ## docs/topics.md, acls.md, asyncapi.yaml, configuration.md and cli.md, from the code
	$(BIN)/python -m streams.cli.reference

.PHONY: image deploy dashboards
MODELS  ?= simulated
PROFILE ?=
SCALE   ?= 1
COMPOSE_FILES ?= compose/compose.yaml
COMPOSE := docker compose $(addprefix --file ,$(COMPOSE_FILES))
image: ## the container image: make image [MODELS=simulated|given|none] (docs/containers.md)
	MODELS=$(MODELS) REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) docker compose --file compose/compose.yaml build api
	docker history --format '{{.Size}}\t{{.CreatedBy}}' $${CANAREC_IMAGE:-canarec:latest}

deploy: compose/secrets/api-token compose/secrets/grafana-password ## everything in containers, or the new image: make deploy [PROFILE=simulate] [SCALE=3]
	$(COMPOSE) $(if $(PROFILE),--profile $(PROFILE)) up --detach --wait --no-build --scale worker=$(SCALE)

# Readable inside containers, whoever runs them; the folder keeps others of this machine out.
compose/secrets/%:
	@umask 077 && mkdir -p compose/secrets
	@python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > $@ && chmod 444 $@

dashboards: $(READY) ## compose/grafana/dashboards/*.json, from their code
	$(BIN)/python compose/grafana/dashboards.py

.PHONY: audit sbom dist
audit: $(READY) ## known vulnerabilities of the packages in requirements.lock; fails, too, where nobody says which
	@$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv tool run pip-audit==2.10.1 --requirement requirements.lock --require-hashes --disable-pip --strict

sbom: $(READY) ## dist/sbom.json: every package, jar and the Java, as CycloneDX
	@$(BIN)/python -m pip install --quiet $(UV)
	@mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-file dist/sbom.json
	$(BIN)/python -m streams.sbom dist/sbom.json

dist: $(READY) ## dist/: the wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

lock: ## requirements.lock, from pyproject.toml
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-header --output-file requirements.lock pyproject.toml

kafka-lock: $(READY) ## streams/kafka.lock: the broker's jars with their checksums
	$(BIN)/python -m streams.jars --lock

clean: ## the virtual environment and caches; artifacts/ (the data) stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
