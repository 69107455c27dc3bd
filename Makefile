# The commands a person types. `make` alone lists them.

SHELL := /bin/sh
CARGO ?= cargo
# `make test` builds the tests with the rest, so that all of it has one choice of features and is compiled once.
TARGETS ?=
BIN := target/debug/supamanager
PLUGINS := target/plugins
# Plugins that only the tests load.
GUESTS := target/guests

.DEFAULT_GOAL := help
.PHONY: help demo demo-down run build plugins guests sandbox test soak bench fmt verify-upstream toolchain

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## From nothing to a first healthy project, with proofs
	@sh tests/demo/up.sh

demo-down: ## Delete the demo's projects through the API and show that nothing is left
	@sh tests/demo/down.sh

run: build plugins ## Run the daemon on ./data in the foreground
	$(BIN) serve

build: toolchain
	$(CARGO) build --locked --workspace $(TARGETS)

plugins: build ## Build the shipped plugins into target/plugins
	@sh tests/setup/wasm.sh
	$(BIN) plugin build --shipped --out $(PLUGINS) plugins/*

guests: build
	@sh tests/setup/wasm.sh
	$(BIN) plugin build --shipped --out $(GUESTS) tests/guests/*

sandbox: ## Build the sandbox images from Debian packages (cached by content)
	@sh tests/setup/engine.sh start
	@sh tests/sandbox/build.sh

test: toolchain ## Everything: format, lints, unit, engine and kill tests; ends with a table
	@sh tests/run.sh

soak: plugins ## Random schedules and kills for as long as wanted: make soak SEEDS=100000 KILLS=1000
	@FIRST=$(FIRST) SEEDS=$(SEEDS) KILLS=$(KILLS) sh tests/soak.sh

bench: plugins sandbox ## Measure, in one run on one engine, and print tables
	@sh tests/bench.sh

fmt: ## Format the code
	$(CARGO) fmt --all

verify-upstream: plugins ## On a machine with an image registry: the engine suite on the design's pins, one report
	@sh tests/verify-upstream.sh

toolchain:
	@version=$$($(CARGO) --version 2>/dev/null | awk '{print $$2}'); \
	case "$$version" in \
	"") echo "cargo is missing: install Rust 1.95 or newer" >&2; exit 3;; \
	esac; \
	oldest=$$(printf '%s\n1.95.0\n' "$$version" | sort -V | head -n 1); \
	[ "$$oldest" = 1.95.0 ] || { echo "cargo $$version is too old: 1.95 or newer is needed" >&2; exit 3; }
	@command -v cc >/dev/null 2>&1 || sh tests/setup/packages.sh gcc libc6-dev
