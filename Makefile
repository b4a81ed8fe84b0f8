# Every task of the project. `make help` lists them; `make demo` shows the product; `make test` checks it.

PYTHON ?= python3
CACHE ?= $(HOME)/.cache/deepseek-operator
# Where the product runs: embedded (a real cluster on this Linux machine), kind, or current (kubectl's context).
CLUSTER ?=
# A model for `make demo`: empty makes a tiny random DeepSeek-V3; a hub id downloads the real one.
MODEL ?=
# With CLUSTER=current: where images go, a registry that the cluster can pull from.
IMAGE_REGISTRY ?=
# GPUs that the server's image gets compiled kernels for, such as 8.0,9.0a; empty: none, runs anywhere, slower on GPUs.
CUDA_ARCHS ?=
export UV_CACHE_DIR := $(CACHE)/uv
export DSO_CACHE := $(CACHE)
export DSO_CLUSTER := $(CLUSTER)
export IMAGE_REGISTRY
export CUDA_ARCHS

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTBED := $(BIN)/python -m hack.cluster

.DEFAULT_GOAL := help

##@ Everyday
.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## Create or refresh .venv from the lock file (Python 3.11 to 3.13)

$(STAMP): tests/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d: run make PYTHON=python3.12" % v)'
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet "$$(grep -o '^uv==[0-9.]*' tests/requirements.lock)"; }
	$(BIN)/uv pip sync --python $(BIN)/python --compile-bytecode --require-hashes tests/requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	@touch $@

.PHONY: generate
generate: $(STAMP) ## Regenerate crds/ and docs/reference.md from operator/deepseek_operator/api
	$(BIN)/python -m deepseek_operator.api.crd
	$(BIN)/python -m deepseek_operator.api.reference

.PHONY: format
format: $(STAMP) ## Format the code
	$(BIN)/ruff check --quiet --fix . || true
	$(BIN)/ruff format .

.PHONY: docs
docs: $(STAMP) ## Build the documentation into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
EXTRAS := $(BIN)/python -c 'import sys, tomllib; e = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print("\n".join(r for x in sys.argv[1:] for r in e[x] if not r.startswith("deepseek-operator")))'
# What a lock that is installed beside others leaves out: all that they have.
OTHERS := sed -nE 's/^([a-z0-9-]+)==.*/--no-emit-package=\1/p'

.PHONY: lock
lock: $(STAMP) ## Refresh the lock files within the ranges of pyproject.toml
	$(COMPILE) pyproject.toml -o operator/requirements.lock
	$(EXTRAS) server tracing | $(COMPILE) - -o model_server/requirements.lock
	$(EXTRAS) server tracing gpu | $(COMPILE) - -c model_server/requirements.lock $$($(OTHERS) model_server/requirements.lock) -o model_server/gpu.lock
	$(EXTRAS) server tracing gpu kernels | $(COMPILE) - -c model_server/requirements.lock -c model_server/gpu.lock $$($(OTHERS) model_server/requirements.lock model_server/gpu.lock) -o model_server/kernels.lock
	$(COMPILE) pyproject.toml --extra dev -o tests/requirements.lock

##@ Cluster
# GPUs that the real node claims, fake GPU nodes beside it, EGRESS=1 to let pods out of the machine.
GPUS ?=
KWOK ?=
EGRESS ?=

.PHONY: cluster-up
cluster-up: $(STAMP) ## Start a real cluster here: node and registry (GPUS=n KWOK=n EGRESS=1)
	@$(TESTBED) up $(if $(GPUS),--gpus $(GPUS)) $(if $(KWOK),--kwok-nodes $(KWOK)) $(if $(EGRESS),--egress)

.PHONY: cluster-down
cluster-down: $(STAMP) ## End it; images and built programs stay in the cache
	@$(TESTBED) down

.PHONY: cluster-status
cluster-status: $(STAMP) ## What of it runs
	@$(TESTBED) status

.PHONY: cluster-build
cluster-build: $(STAMP) ## Build its programs only (once, about 12 minutes on two cores)
	@$(TESTBED) build

.PHONY: cluster-build-aside
cluster-build-aside: $(STAMP)
	@nice -n 19 $(TESTBED) build --parts controllers,node,registry,kwok,lws
	@nice -n 19 $(BIN)/python -m hack.cluster.images --ahead

##@ Product
.PHONY: demo
demo: $(STAMP) ## From nothing to an answer of a model (MODEL=a hub repository, else a tiny one)
	$(BIN)/python -m hack.cluster.demo --model "$(MODEL)"

.PHONY: local
local: $(STAMP) ## The same without a cluster: processes of this machine (MODEL=a hub repository)
	$(BIN)/python -m hack.local_demo --model "$(MODEL)"

.PHONY: images
images: $(STAMP) ## Build what has changed of the two images, for the cluster in use
	$(BIN)/python -m hack.cluster.images

.PHONY: install
install: $(STAMP) ## Install the chart with these images into the cluster in use
	$(BIN)/python -m hack.cluster.install install

.PHONY: uninstall
uninstall: $(STAMP) ## Remove the operator; CRD and resources stay
	$(BIN)/python -m hack.cluster.install uninstall

##@ Performance
# A published shape to measure on this machine's GPU (7b, v2-lite, ...); empty: a tiny model on its CPU.
PROFILE ?=
# Rows of docs/performance.md, and the accelerator whose limits stand beside them.
ROWS ?= start,n1,n32,n256,mixed,prefix
ACCELERATOR ?= here
BENCH := $(BIN)/python -m benchmarks.server

.PHONY: bench-server
bench-server: $(STAMP) ## Measure the model server (PROFILE=7b on a GPU: the tables of docs/performance.md)
ifeq ($(PROFILE),)
	$(BENCH) overhead --device cpu --core 0 --baseline transformers-serve
else
	$(BENCH) suite --profile $(PROFILE) --rows $(ROWS) --accelerator $(ACCELERATOR) --baseline transformers-serve
endif

# How long `make soak` takes, and how long `make bench-operator` watches the operator do nothing.
SECONDS ?= 600
# 0 leaves out the rows with many resources, which take half an hour on two cores.
MANY ?= 10000

.PHONY: bench-operator
bench-operator: $(STAMP) ## Measure the operator against a real API server (SECONDS=600 of quiet, MANY=10000)
	$(BIN)/python -m benchmarks.operator --seconds $(SECONDS) --many $(MANY)

.PHONY: bench-route
bench-route: $(STAMP) ## What gateway, sidecar and policies add to a request and to a token of a stream
	$(BIN)/python -m benchmarks.operator.route

##@ Tests
.PHONY: test
test: lint ## Everything: lint, unit, integration (API server), e2e (pods)
	@# Side by side: some compute on one core, others wait for most of their time, and what the
	@# end-to-end tests need is built with what is left.
	$(MAKE) --jobs=4 --output-sync=target test-unit test-integration test-faults cluster-build-aside
	$(MAKE) test-e2e

.PHONY: lint
lint: docs ## ruff, mypy, layer contracts, generated files up to date, words, workflows, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deepseek_operator.api.crd --check
	$(BIN)/python -m deepseek_operator.api.reference --check
	$(BIN)/python -m hack.wording
	$(BIN)/python -m hack.workflows

.PHONY: test-unit
test-unit: $(STAMP) ## Pure code and the model server in process
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/unit -m "not long" # tiny tensors: on a busy machine threads only wait for each other

.PHONY: coverage
coverage: $(STAMP) ## The unit tests with the share of lines that they run, by file; slower
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/unit -m "not long" --cov --cov-report=term:skip-covered --cov-report=html

.PHONY: soak
soak: $(STAMP) ## The model server under everything that clients do, for SECONDS=600
	$(BIN)/python -m hack.soak --seconds $(SECONDS)

.PHONY: test-integration
test-integration: $(STAMP) ## Against a real API server, and the server on this machine
	$(BIN)/pytest tests/integration --durations=15

.PHONY: test-faults
test-faults: $(STAMP) ## The quick ones of the faults that must lose nothing
	$(BIN)/pytest tests/chaos -m "not long"

.PHONY: test-chaos
test-chaos: $(STAMP) ## All of them (killed, cut off, flooded, frozen, ...)
	$(BIN)/pytest tests/chaos

.PHONY: test-e2e
test-e2e: $(STAMP) ## Real pods on the embedded cluster, from the images and the chart
	$(BIN)/pytest tests/e2e -m "not long" --durations=15

.PHONY: test-random
test-random: $(STAMP) ## Property tests with new examples at each run
	HYPOTHESIS_PROFILE=random $(BIN)/pytest tests/unit tests/integration -m hypothesis

# reversed: from the last test to the first, which shows whether one depends on another.
ORDER ?=
.PHONY: test-long
test-long: $(STAMP) ## What `make test` leaves out: faults, traffic, parts that take long (ORDER=reversed)
	$(BIN)/pytest tests/unit tests/chaos tests/e2e -m long --durations=30 $(if $(ORDER),--$(ORDER))

##@ Release
VERSION ?=

.PHONY: release-version
release-version: $(STAMP) ## Write a version to all places and to the changelog (VERSION=0.2.0)
	$(BIN)/python -m hack.release set "$(VERSION)"

.PHONY: release-check
release-check: $(STAMP) ## List what keeps this commit from being released
	$(BIN)/python -m hack.release check

.PHONY: dist
dist: $(STAMP) ## Build wheel, source distribution and chart into dist/, with checksums
	$(BIN)/python -m hack.release dist

.PHONY: release
release: release-check ## Both, one after the other: what a release publishes, see RELEASE.md
	$(MAKE) dist
