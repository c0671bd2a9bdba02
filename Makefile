# Everything a fresh machine needs, in two commands: `make run` and `make test`.
# Debian and Ubuntu get missing build tools installed; elsewhere they are named.

# One profile for running and testing: each profile compiles llama.cpp once, for minutes.
CARGO ?= cargo
ARGS ?=

.PHONY: run test observability clients lint tools

run: tools ## Build, and serve the embedded model on 127.0.0.1:8080
	$(CARGO) run --release -- $(ARGS)

test: ## Run all tests
	@sh .cargo/tools.sh redis-server
	$(CARGO) test --release --features fault-injection $(ARGS)

observability: tools ## Check the dashboard and the alerts with a real Prometheus
	$(CARGO) build --release --features fault-injection
	sh tests/observability/run.sh

clients: ## Try the clients of OpenAI and Anthropic, and /openapi.json, on a running server
	@sh .cargo/tools.sh python3 python3-venv npm
	$(CARGO) build --release --features fault-injection
	@sh tests/packages/run.sh $(ARGS)

lint: tools ## Check format, warnings and links of the documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets --features fault-injection -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps --document-private-items

tools: ## Install what compiling llama.cpp needs, where it is missing
	@sh .cargo/tools.sh
