# `make` lists the targets. Two of them are all that most people need: run and test.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-compiled test-interpreted test-long test-cluster fuzz soak check audit bench tools proto docs lock clean up down logs ps images
SHELL := /bin/bash

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n 3 --dist loadgroup
UV := $(or $(shell command -v uv),.uv/bin/uv)
RESOLVE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
IMAGE_LOCK := deploy/image/requirements.lock
PB := libs/common/pb
CLIENT_PB := clients/python/constellation_client/pb
SDKS := tests/conformance
KAFKA := tests/analytics/kafka_pom.xml
MAVEN_COPY := org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
CHDB := tests/clickhouse/requirements.lock
# The cluster in containers: PROFILE is minimal or full, where .env is not to say it.
COMPOSE = $(if $(PROFILE),COMPOSE_PROFILES=$(PROFILE)) $(if $(shell command -v docker-compose),docker-compose,docker compose)
TAG = $(or $(CONSTELLATION_TAG),$(shell sed -n 's/^CONSTELLATION_TAG=//p' .env 2>/dev/null),dev)
H2SPEC := github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
# What is compiled must hold without that, too: an edit, or a machine without a compiler, is enough.
HOT_TESTS := $(addprefix tests/,eager http1 lean entry server contract test_embedded.py test_hot_path.py)
PROTOS := $(shell find proto -name '*.proto')

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready ## make the environments: .venv, and .triton for a real Triton; compile the hot path
	@$(BIN)/python models/setup_environment.py --uv $(UV) --target .triton || [ $$? -eq 3 ]
	@$(BIN)/python -m libs.compiled.build || [ $$? -eq 3 ]

run: setup ## start everything: constellation up
	@exec $(BIN)/constellation up

test: setup tools ## run every test; those of the hot path interpreted, too
	@$(MAKE) --no-print-directory test-compiled
	@$(MAKE) --no-print-directory test-interpreted

test-compiled:
	@$(PYTEST)

test-interpreted:
	@CONSTELLATION_INTERPRETED=1 $(PYTEST) $(HOT_TESTS)

test-long: setup tools ## run the tests that take long
	@$(PYTEST) -m long

fuzz: setup tools ## run the tests that generate their input, with ten times as much of it
	@HYPOTHESIS_EXAMPLES=1000 $(PYTEST) -m 'hypothesis and not long' --timeout 900
	@LEAN_FUZZ_SECONDS=60 HTTP1_FUZZ_SECONDS=60 SCHEMATHESIS_EXAMPLES=60 \
	  $(PYTEST) $(addprefix tests/,lean/test_fuzz.py lean/test_h2spec.py http1/test_fuzz.py test_schemathesis.py)

test-cluster: tools ## run the tests in containers, on the Docker engine that is there or one of their own
	@$(BIN)/python -m tests.cluster.engine $(BIN)/pytest -m cluster -n 0 $(ARGS) tests/cluster \
	  tests/contract/test_instance_driver.py

up: images ## start the cluster in containers, and wait until it is healthy; PROFILE=full: two colos
	@[ -e .env ] || { cp .env.example .env && echo "made .env of .env.example"; }
	@deploy/compose/make-secrets
	@$(if $(PROFILE),COMPOSE_PROFILES=$(PROFILE)) deploy/compose/refuse-mixed
	@$(COMPOSE) up -d --no-build --wait --wait-timeout 300 $(ARGS)

images: ## build the images that the cluster is made of
	@docker build -q --target constellation -t constellation:$(TAG) .
	@docker build -q --target triton -t constellation-triton:$(TAG) .

down: ## stop the cluster in containers; ARGS=-v: remove all that it has stored, too
	@$(COMPOSE) --profile '*' down --remove-orphans $(ARGS)

logs: ## follow what the containers log; ARGS="entry": of some alone
	@$(COMPOSE) --profile '*' logs -f --tail 100 $(ARGS)

ps: ## show the containers, and how they are
	@$(COMPOSE) --profile '*' ps $(ARGS)

soak: setup ## run everything under a mixed load for ten minutes: nothing may grow, come late or fail
	@$(BIN)/constellation bench soak --minutes 10

bench: .venv/.ready ## measure the gateway beside others; flags in ARGS, such as ARGS="--rounds 10"
	@$(BIN)/constellation bench gateway $(ARGS)

tools: .venv/.ready ## get what some tests need: h2spec (by Go), SDKs (by npm), Kafka (by Maven), ClickHouse's engine
	@[ -x .tools/bin/h2spec ] || ! command -v go >/dev/null || \
	  GOBIN=$(CURDIR)/.tools/bin GOFLAGS=-mod=mod go install $(H2SPEC) || echo "h2spec could not be built: its test is skipped"
	@[ $(SDKS)/node_modules -nt $(SDKS)/package-lock.json ] || ! command -v npm >/dev/null || \
	  (npm ci --prefix $(SDKS) --no-audit --no-fund --loglevel error && touch $(SDKS)/node_modules) || \
	  echo "the SDKs of npm could not be installed: their tests are skipped"
	@[ .tools/kafka/.ready -nt $(KAFKA) ] || ! command -v mvn >/dev/null || \
	  (mvn -q -B -f $(KAFKA) $(MAVEN_COPY) -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.tools/kafka/libs && \
	  touch .tools/kafka/.ready) || echo "Kafka could not be had: its tests are skipped"
	@[ .tools/chdb/.ready -nt $(CHDB) ] || (rm -rf .tools/chdb && \
	  $(UV) pip install --quiet --python $(BIN)/python --target .tools/chdb --no-deps --require-hashes -r $(CHDB) && \
	  touch .tools/chdb/.ready) || echo "ClickHouse's engine could not be had: its tests are skipped"

check: .venv/.ready ## format, lint, types, imports, generated code, advisories on dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v buf >/dev/null; then buf lint; else echo "buf is not installed: proto/ was not linted"; fi
	$(MAKE) --no-print-directory proto
	@git diff --exit-code --stat -- $(PB) $(CLIENT_PB) || (echo "generated code is stale: commit what 'make proto' wrote" && exit 1)
	@$(MAKE) --no-print-directory audit

audit: .venv/.ready ## ask what is known against the versions in the lock files
	@$(BIN)/python -m tests.security.audit $(ARGS)

proto: .venv/.ready ## generate libs/common/pb from proto/
	@rm -rf build/pb && mkdir -p build/pb
	@$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=build/pb --grpc_python_out=build/pb --mypy_out=build/pb --mypy_grpc_out=build/pb $(PROTOS)
	@find build/pb -name '*.py*' | xargs sed -i -E 's/^from (constellation\.v1|kserve\.v2) import/from libs.common.pb import/; s/\bimport (constellation\.v1|kserve\.v2)\./import libs.common.pb./; s/\b(constellation\.v1|kserve\.v2)\.([a-z_]+_pb2)/libs.common.pb.\2/g'
	@rm -f $(PB)/*_pb2*.py*
	@cp $$(find build/pb -name '*.py*') $(PB)/
	@cp build/pb/constellation/v1/binding_pb2.py* $(CLIENT_PB)/

docs: .venv/.ready ## write what of docs/ is made of the code
	@$(BIN)/python -m libs.common.error_table docs/errors.md
	@$(BIN)/python -m services.metric_table docs/metrics.md
	@$(BIN)/python -m services.settings_table docs/settings.md

lock: | $(filter .uv/bin/uv,$(UV)) ## resolve requirements.lock anew, and the images' part of it
	@$(RESOLVE) pyproject.toml --group dev -o requirements.lock
	@$(RESOLVE) pyproject.toml --all-extras -c requirements.lock --no-annotate -o $(IMAGE_LOCK)

clean: ## remove the environments and what was built
	rm -rf .venv .uv .triton .tools .bench $(SDKS)/node_modules build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.uv/bin/uv:
	@echo "installing uv"
	@$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

.venv/.ready: requirements.lock pyproject.toml libs/compiled/interpreter.py | $(filter .uv/bin/uv,$(UV))
	@start=$$SECONDS && python=$$($(PYTHON) libs/compiled/interpreter.py || echo '>=3.11') && echo "making .venv of Python $$python ..." && \
	$(UV) venv --quiet --clear --python "$$python" .venv && \
	$(UV) pip sync --quiet --python .venv --require-hashes requirements.lock && \
	$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation -e . && \
	echo "made .venv in $$((SECONDS - start)) s"
	@touch $@
