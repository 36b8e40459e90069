.DEFAULT_GOAL := help
.PHONY: help demo build fmt lint test test-fast test-upgrade bench bench-load bench-ledger bench-index bench-reindex bench-tune bench-backup bench-scale bench-kills deny docs images release up down sample

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## Build Stoker and load sample/ into the sandbox, a small FHIR server
	@scripts/demo.sh

build: ## Build everything, optimised
	cargo build --workspace --release

fmt: ## Format the code
	cargo fmt --all

lint: deny ## Check format, lints, documentation and dependencies; a warning is an error
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

test: ## Run all tests; installs, starts and stops the real servers they need
	scripts/test.sh

test-fast: ## Run the tests that need no servers
	cargo test --workspace --lib --bins
	cargo test -p stoker-tests --test it -- arrows:: house::

test-upgrade: ## Upgrade services under load from an earlier build, PREVIOUS=REVISION (10 minutes, 6 GB of disk)
	scripts/test-upgrade.sh $(PREVIOUS)

bench: bench-load bench-ledger bench-index bench-reindex bench-tune bench-backup bench-scale ## Run all benchmarks

bench-load: ## Measure `stoker load`: rates, cost of the ledger, memory (21 GB of disk)
	cargo build --release -p stoker -p stoker-bench
	$${CARGO_TARGET_DIR:-target}/release/bench-load

bench-ledger: ## Measure the ledger on PostgreSQL with a million objects (about 3 minutes, 2 GB of disk)
	scripts/bench-ledger.sh

bench-index: ## Measure the remote indexer on recorded messages, beside COPY of the same rows (about 3 minutes)
	scripts/bench-index.sh

bench-reindex: ## Measure `stoker reindex`: self-tuning on live simulated servers, memory, resuming (about 10 minutes)
	cargo build --release -p stoker -p stoker-bench
	$${CARGO_TARGET_DIR:-target}/release/bench-reindex

bench-tune: ## Compare `auto` with the best fixed limits on simulated servers (a few minutes)
	cargo build --release -p stoker -p stoker-bench
	$${CARGO_TARGET_DIR:-target}/release/bench-tune

bench-backup: ## Measure backups of PostgreSQL beside pg_basebackup, their memory, and a drill (about 5 minutes, 6 GB of disk)
	scripts/bench-backup.sh

bench-scale: ## Simulate the autoscalers of k8s/ under several loads (seconds)
	cargo build --release -p stoker -p stoker-bench
	$${CARGO_TARGET_DIR:-target}/release/bench-scale

bench-kills: ## Kill workers and scanners a hundred times while they load a million resources (half an hour)
	STOKER_KILLS=100 STOKER_KILL_RESOURCES=1000000 scripts/test.sh --test it -- kills:: --nocapture

images: ## Pack the release build into the image stoker:latest (BASE_IMAGE=… for another base)
	cargo build --release --bin stoker
	scripts/image.sh

release: ## Pack the release build for operators, with bill of materials, licences and checksums, into target/dist
	cargo build --release --bin stoker
	scripts/release.sh

up: ## Start the stack of compose/ and wait until all of it is healthy; needs Docker, and `make images` before
	scripts/compose.sh up

down: ## End the stack; what it kept stays (scripts/compose.sh down --volumes removes that too)
	scripts/compose.sh down

deny: ## Check licences, sources and banned crates of all dependencies
	tests/parts/cargo-deny.sh install
	tests/parts/cargo-deny.sh check

docs: ## Build the crates' documentation
	cargo doc --workspace --no-deps

sample: ## Make sample/ anew with Synthea
	scripts/make-sample.sh
