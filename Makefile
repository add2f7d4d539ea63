# `make` alone lists the targets. ARGS="…" is passed on to the program that a target runs.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
CODE := src tests $(wildcard examples benchmarks)
ARGS ?=

.PHONY: help setup demo serve test check soak bench bench-quick docs support format lock build wheel-check changelog clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/dev.stamp ## make .venv with all that development needs

demo: .venv/demo.stamp ## run the example service's main job; DATABASE_URL=postgresql://… chooses the database
	@$(PY) -m examples.atlas.demo $(ARGS)

serve: .venv/demo.stamp ## leave the example service running, on PORT or a free port
	@exec $(PY) -m examples.atlas serve $(ARGS)

test: .venv/dev.stamp ## start private servers, run every test, end with a table of engines
	@scripts/install-servers
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal -q $(ARGS)

check: .venv/dev.stamp ## lint, format, types, layers, architecture
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy $(CODE)
	$(PY) -m pyright
	.venv/bin/lint-imports
	$(PY) -m pytest -q tests/architecture

support: .venv/dev.stamp ## run the conformance suite on every store, and make docs/support.md of what it shows
	@scripts/install-servers
	@$(PY) -m pytest -q -p holdall.testing.report --holdall-report .support.json $(addprefix tests/conformance/test_,memory.py sqlite.py postgres.py mysql.py dynamodb.py opensearch.py)
	@$(PY) -m holdall.testing.report .support.json --output docs/support.md
	@rm -f .support.json

soak: .venv/dev.stamp ## mix operations and faults for SECONDS on each of ENGINES (postgres,mysql,sqlite), and check what must always hold
	@scripts/install-servers
	@$(PY) -m tests.soak --seconds $(or $(SECONDS),30) $(if $(ENGINES),--engines $(ENGINES)) $(ARGS)

bench: .venv/dev.stamp ## measure the lines beside their peers (ARGS=--all: all), and make docs/benchmarks.md of it
	@scripts/install-servers
	@$(PY) -m benchmarks --full --publish $(ARGS)

bench-quick: .venv/dev.stamp ## compare the main lines with the raw drivers, in under two minutes
	@scripts/install-servers
	@$(PY) -m benchmarks --quick $(ARGS)

docs: .venv/dev.stamp ## build the documentation into site/, where a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict $(ARGS)

format: .venv/dev.stamp ## format the code, fix what can be fixed
	@$(PY) -m ruff check --fix-only --quiet $(CODE)
	@$(PY) -m ruff format $(CODE)

lock: .venv/dev.stamp ## pin the newest versions in requirements/*.lock
	@$(PIP) install uv
	@$(LOCK) --group dev --output-file requirements/dev.lock
	@$(LOCK) --group demo --constraint requirements/dev.lock --output-file requirements/demo.lock

LOCK = $(PY) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --quiet \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

build: .venv/dev.stamp ## build the wheel into dist/
	@rm -rf dist
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

wheel-check: build ## install the wheel bare and with each extra, and import it
	@scripts/check-wheel

changelog: .venv/dev.stamp ## show what the fragments in changelog.d make of the next release's notes
	@$(PY) -m towncrier build --draft $(ARGS)

clean: ## remove what was built, the environment included
	rm -rf .venv build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@scripts/make-venv

# pip compiles no editable install, and with PYTHONDONTWRITEBYTECODE each start would do it again.
COMPILE := $(PY) -m compileall -q src/holdall

# The example needs neither tests nor linters, so that the first `make demo` is quick.
.venv/demo.stamp: requirements/demo.lock pyproject.toml | .venv/bin/pip
	@echo "installing what the example needs into .venv"
	@$(PIP) install --requirement requirements/demo.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

.venv/dev.stamp: requirements/dev.lock pyproject.toml | .venv/bin/pip
	@echo "installing what development needs into .venv"
	@$(PIP) install --requirement requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch .venv/demo.stamp $@
