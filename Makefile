# Needs Python 3.11, make and pip. Every target builds .venv first, with the versions in constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup demo test check format bench claims docs clean
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/ready  ## build .venv
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@if command -v cc >/dev/null && command -v cmake >/dev/null; then \
		$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[textworld,alfworld]'; \
	else \
		echo "No C compiler or no cmake: TextWorld and ALFWorld are left out, and their tests are skipped."; \
	fi
	touch $@

demo: setup  ## train a tiny student with GRPO, KDRL and RLAD side by side
	$(BIN)/posttrain compare grpo kdrl:beta=0.2 rlad --seeds 2 --steps 60 --out runs/demo

test: setup  ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: setup  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: setup  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## speed and memory beside what a user would pick instead
	$(BIN)/python -m benchmarks

claims: setup  ## measure the papers' claims again and rewrite docs/claims.md
	$(BIN)/posttrain claims

docs: setup  ## build the documentation into site/
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:  ## remove what was built
	rm -rf .venv site runs dist build
