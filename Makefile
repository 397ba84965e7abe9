# rcc: the few targets that developers, CI and packagers use.  `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Hook files name executables by absolute paths, and engines look for them in fixed folders: there is no PREFIX.
DESTDIR ?=
VENV := .venv
PYTHON := $(VENV)/bin/python
LIB := $(DESTDIR)/usr/lib/rcc
LIBEXEC := $(DESTDIR)/usr/libexec/rcc
SHARE := $(DESTDIR)/usr/share/rcc
UNITS := $(DESTDIR)/usr/lib/systemd

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what the demo and the tests need (Debian packages, a virtual environment)
	@packaging/setup

.PHONY: demo
demo: setup ## A labelled and an unlabelled container side by side, in a lab network
	@tests/lab/demo

.PHONY: test
test: setup ## Every suite: lint, types, unit, laws, golden, netns, e2e
	@tests/run

.PHONY: lint
lint: ## ruff
	$(VENV)/bin/ruff check hooks tests

.PHONY: types
types: ## mypy --strict
	$(VENV)/bin/mypy

.PHONY: unit
unit: ## The suites that need no privilege
	$(PYTHON) -m pytest -q tests/unit tests/laws tests/golden

.PHONY: netns
netns: ## The suites that run in fresh network namespaces
	$(PYTHON) -m pytest -q tests/netns

.PHONY: e2e
e2e: ## The suites that run real containers in the lab (root)
	$(PYTHON) -m pytest -q tests/e2e

.PHONY: golden
golden: ## Rewrite the golden files; review the diff
	RCC_GOLDEN=1 $(PYTHON) -m pytest -q tests/golden

.PHONY: bench
bench: setup ## What a start costs, as ratios within one run
	@tests/bench/run

.PHONY: install
install: ## Install under DESTDIR, executables before the hook files that name them
	install -d $(LIB) $(LIBEXEC) $(DESTDIR)/usr/bin $(SHARE)/hooks.d $(SHARE)/profiles $(SHARE)/presets
	cd hooks && find rcc -name '*.py' -exec install -D -m 644 {} $(abspath $(LIB))/{} \;
	install -m 755 hooks/rcc-hook hooks/rcc-agent hooks/rcc-keeper $(LIBEXEC)/
	install -m 755 hooks/rcc-command $(DESTDIR)/usr/bin/rcc
	/usr/bin/python3 -m compileall -q $(if $(DESTDIR),-s $(DESTDIR)) $(LIB)
	install -m 644 policy/profiles/*.yaml $(SHARE)/profiles/
	install -m 644 policy/presets/*.yaml $(SHARE)/presets/
	install -d $(DESTDIR)/etc/rcc/profiles $(DESTDIR)/etc/rcc/presets
	install -d $(UNITS)/system $(UNITS)/user
	install -m 644 packaging/systemd/system/rcc-agent.* $(UNITS)/system/
	install -m 644 packaging/systemd/user/rcc-agent.* $(UNITS)/user/
	install -D -m 644 oci-hooks.d/rcc.json $(DESTDIR)/usr/share/containers/oci/hooks.d/rcc.json
	install -m 644 oci-hooks.d/rcc-precreate.json $(SHARE)/hooks.d/rcc-precreate.json
	install -D -m 644 containers.conf.d/50-rcc.conf $(DESTDIR)/etc/containers/containers.conf.d/50-rcc.conf

.PHONY: uninstall
uninstall: ## Remove what install put there, hook files first; /etc/rcc stays
	rm -f $(DESTDIR)/etc/containers/containers.conf.d/50-rcc.conf
	rm -f $(DESTDIR)/usr/share/containers/oci/hooks.d/rcc.json $(SHARE)/hooks.d/rcc-precreate.json
	rm -f $(UNITS)/system/rcc-agent.* $(UNITS)/user/rcc-agent.*
	rm -rf $(LIBEXEC) $(LIB) $(SHARE) $(DESTDIR)/usr/bin/rcc

.PHONY: clean
clean: ## Remove what builds and tests left
	rm -rf build .cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
