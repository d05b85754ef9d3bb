# Everything that people and CI run. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# Beside the other caches, so that a clean checkout does not build everything again.
DRIFTLESS_CACHE ?= $(HOME)/.cache/driftless
CARGO_TARGET_DIR ?= $(DRIFTLESS_CACHE)/target
export DRIFTLESS_CACHE CARGO_TARGET_DIR
# The engines of the suite run in namespaces of their own, and making those needs root. Only the test programs get it.
ifneq ($(shell id -u),0)
host := $(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export CARGO_TARGET_$(host)_RUNNER := sudo --preserve-env=HOME,PATH,DRIFTLESS_CACHE,CARGO_TARGET_DIR,DRIFTLESS_REQUIRE_NODE,INSTA_UPDATE
endif

.PHONY: help setup demo demo-kubernetes test test-engines lint bench docs image
help: ## Lists the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

setup: ## Brings what is missing (Debian): engines, CLI, tools and a Kubernetes under ~/.cache/driftless
	@tests/engines/setup.sh
	@tests/cluster/setup.sh >/dev/null

demo: ## Builds, and shows a whole turn of the loop on throw-away containers; starts an engine of its own when none answers
	@tests/engines/demo.sh

demo-kubernetes: ## As demo, on a Kubernetes of its own with real pods; builds that first (20 minutes of two cores, once)
	@tests/cluster/demo.sh

test: setup ## Runs the suite on Docker engines 20.10 and 28 and on a Kubernetes of its own
	cargo test

test-engines: setup ## As test, and on engine 29, which is built first (5 minutes, once)
	tests/engines/build29.sh
	cargo test --features engine-29

lint: ## Formatting and clippy, without warnings
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench: setup ## Prints figures beside those of docker compose (docs/performance.md tells how they are taken)
	benches/run.sh

docs: ## Writes the generated pages of docs/ again
	cargo build
	UPDATE_DOCS=1 cargo test --test suite docs::

image: ## Builds the container image; needs an engine that has or can pull the base images of the Dockerfile
	docker build -t driftless .
