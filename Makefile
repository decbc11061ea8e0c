# `make run` tries chatledger on this machine; `make test` proves it.

.PHONY: help run build test fuzz bench soak postgres promtool

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: build postgres ## Start everything on a private PostgreSQL and a Telegram simulator
	@exec bin/chatledger dev

build: ## Build bin/chatledger
	@[ -x bin/chatledger ] || echo "building bin/chatledger: a minute or two the first time" >&2
	@go build -o bin/chatledger ./cmd/chatledger

test: postgres promtool ## Run everything that must hold
	@.ci/test

fuzz: ## Look for input that a parser does not survive, 20 s each (FUZZTIME=5m)
	@.ci/fuzz $(FUZZTIME)

bench: build postgres ## Measure what we promise, beside what the machine can do
	@bin/chatledger bench

soak: build postgres ## Load, kills and database restarts for 10 minutes (SOAKTIME=2m)
	@bin/chatledger bench soak --for $(or $(SOAKTIME),10m)

postgres: # Install PostgreSQL's server programs where that is possible and they are missing
	@.ci/postgres

promtool: # Fetch what the alert rules are tested with
	@.ci/promtool
