# `make run` tries chatledger on this machine; `make test` proves it.

.PHONY: help run build install check test fuzz bench soak sbom fresh postgres promtool compiler

PREFIX ?= /usr/local

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: postgres build ## Start everything on a private PostgreSQL and a Telegram simulator
	@exec bin/chatledger dev

build: ## Build bin/chatledger
	@.ci/build chatledger

install: build ## Install chatledger into /usr/local/bin (PREFIX=$HOME/.local)
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@install -m 755 bin/chatledger "$(DESTDIR)$(PREFIX)/bin/chatledger"
	@echo "installed $(DESTDIR)$(PREFIX)/bin/chatledger"

check: ## Format, vet, and the tests that need no database: seconds
	@.ci/check

test: postgres promtool compiler ## Run every check and every test: minutes
	@.ci/test

fuzz: ## Look for input that a parser does not survive, 20 s each (FUZZTIME=5m)
	@.ci/fuzz $(FUZZTIME)

bench: postgres build ## Measure what we promise, beside what the machine can do
	@.ci/build chatledger-bench && bin/chatledger-bench

soak: postgres build ## Load, kills and database restarts for 10 minutes (SOAKTIME=2m)
	@.ci/build chatledger-bench && bin/chatledger-bench soak --for $(or $(SOAKTIME),10m)

sbom: build ## List every module of bin/chatledger, as CycloneDX JSON (bin/chatledger.cdx.json)
	@.ci/sbom

fresh: # Run `make run` and `make test` in a bare Debian (as root, with debootstrap)
	@.ci/fresh

postgres: # Make sure that PostgreSQL's server programs are there
	@.ci/postgres

promtool: # Make sure that promtool is there, which tests the alert rules
	@.ci/promtool

compiler: # Make sure that a C compiler is there, which the race detector needs
	@.ci/compiler
