# Every way into this project. Each verb does the set-up that it needs.
.PHONY: setup demo test weekly check house slim quickstart libraries floors build bench docs workflows changelog help
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --no-sync
# Not by `uv run`: a bare ray.init below it starts its workers by uv as well, in a copy of this checkout.
BIN := .venv/bin/
# An environment that the caller has activated is not ours to change.
unexport VIRTUAL_ENV
unexport PYTHONPATH
# Tests start hundreds of processes; without bytecode on disk each would compile Dagster and Ray again.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print(sys.executable)')
export UV_LINK_MODE ?= copy
export UV_NO_PROGRESS ?= 1

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV): Makefile scripts/bring_uv.py
	@echo "Bringing uv $(UV_VERSION) into .tools/"
	@$(PYTHON) scripts/bring_uv.py .tools $(UV_VERSION)
	@touch $(UV)

PROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml examples/*/pyproject.toml) tests-integration/pyproject.toml

.venv/.synced: $(UV) $(PROJECTS)
	@echo "Installing every package of the workspace, editable, into .venv/"
	@$(UV) sync --quiet --all-packages --all-extras --all-groups
	@touch $@

setup: .venv/.synced ## Bring uv and install everything into .venv/

demo: .venv/.synced ## Compute the tutorial's first asset on a real Ray cluster on this machine
	@$(RUN) python examples/tutorial/demo.py

test: .venv/.synced ## Run the tests of every package, and every code block of the documents
	$(BIN)pytest -n 3 --dist worksteal

weekly: .venv/.synced ## Run the long tests, which make test leaves out and CI runs once a week
	$(BIN)pytest -n 2 --dist worksteal -m weekly

check: .venv/.synced ## Formatting, lint, types, import contracts, versions, declared dependencies, file sizes and pure modules
	$(BIN)ruff format --check .
	$(BIN)ruff check .
	$(BIN)pyright
	$(BIN)lint-imports
	$(BIN)python scripts/versions.py
	$(BIN)python scripts/declared.py
	$(BIN)python scripts/sizes.py
	$(BIN)python scripts/modules.py --check

house: .venv/.synced ## Print how the source is built: the road of a step, layers, circles, sizes, repetitions (a minute)
	$(BIN)python scripts/house.py

slim: build ## Install each wheel alone into an empty environment: what it brings, its import, its own tests
	$(BIN)python scripts/slim.py dist

quickstart: build ## Follow docs/quickstart.md to the letter: an empty environment, a new project, the wheels, three runs
	$(BIN)python scripts/quickstart.py dist

libraries: .venv/.synced ## Run Ray Data, Train and Tune in bodies inside the cluster, and their examples, in an environment of their own
	$(BIN)python scripts/libraries.py

floors: .venv/.synced ## Import everything and run the fast tests with the lowest declared versions, then with the newest on Python 3.13
	$(BIN)python scripts/floors.py

build: .venv/.synced ## Build the six wheels into dist/ and check what they hold
	rm -rf dist
	@for folder in . packages/*; do $(UV) build --quiet --out-dir dist $$folder || exit 1; done
	$(BIN)python scripts/wheels.py dist

TURNS ?= 3
bench: .venv/.synced ## Measure everything, compared with dagster-ray 0.4.8 and bare Ray or Kubernetes: benchmarks/RESULTS.md (plan an hour)
	$(BIN)python benchmarks/run_all.py --turns $(TURNS)

docs: .venv/.synced ## Build the documentation into site/ and check its links, its English and the reference of fields
	$(BIN)python scripts/build_docs.py

workflows: .venv/.synced ## Lint .github/ with zizmor, and with actionlint where Go is installed
	$(UV) tool run --quiet zizmor@1.32.0 --offline --quiet --persona=pedantic .github
	@if command -v go >/dev/null; then go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12; \
	else echo "go is not installed: actionlint did not run"; fi

changelog: .venv/.synced ## Move the fragments of changelog.d/ into CHANGELOG.md, under the version of the packages
	$(BIN)towncrier build --yes --version $$($(BIN)python -c 'import importlib.metadata as m; print(m.version("dagster-ray-core"))')
