# Only Python (>= 3.10) and make are assumed; everything else is installed into .venv.
# PYTHON=python3.12         another interpreter
# TORCH_INDEX=URL           where pip finds PyTorch, for example its index of CPU builds
# WORKERS=3                 how many processes share `make test`: one more than two cores, for some tests wait
# DATA=DIR                  further measured sets for the benchmarks
# COVERAGE=1                measure coverage in `make test`, as continuous integration does

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO := .demo
WORKERS ?= 3
SINCE ?= main

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
unexport PYTHONDONTWRITEBYTECODE # soaks start hundreds of processes, which would each compile all they import

.PHONY: help install demo test lint types check-all format soak messages docs site schemas new-rule clean \
	build/mypy bench-check bench-memory bench-throughput bench-runtime bench-webhook

help: ## Show what can be made.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(STAMP): pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing kaitoc and what it needs into $(VENV) (a few minutes the first time)"
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) install -c constraints.txt --index-url "$(TORCH_INDEX)" torch; \
	else $(PIP) install "$$(grep -E '^torch==' constraints.txt)"; fi
	@$(PIP) install "pip>=25.1" # the first that installs dependency groups
	@$(PIP) install -c constraints.txt -e ".[runtime]" --group dev
	@touch $(STAMP)

install: $(STAMP) ## Install kaitoc with its runtime and development tools into .venv.

demo: $(STAMP) ## Check, compile and train examples/demo.yaml.
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh $(DEMO)

test: $(STAMP) ## Run the whole suite; COVERAGE=1 measures coverage too and holds it to its gate.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

lint: $(STAMP) build/mypy ## Check style, formatting, the image and the floors.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint examples/job/Dockerfile
	cd build/mypy && PYTHONPATH=. "$(CURDIR)/$(BIN)/lint-imports" --no-cache "$(CURDIR)/pyproject.toml"

types: $(STAMP) build/mypy ## Check types.
	MYPYPATH=build/mypy $(BIN)/mypy -p kaitoc

build/mypy: ## The import names as folders, for the type checker.
	@mkdir -p build/mypy/kaitoc
	@for name in compiler rules runtime schemas; do ln -sfn "../../../$$name" "build/mypy/kaitoc/$$name"; done
	@for file in kaitoc/*; do ln -sfn "../../../$$file" "build/mypy/$$file"; done

check-all: lint types test ## What continuous integration runs.

format: $(STAMP) ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(STAMP) ## Run the long random tests.
	@for script in tests/soak/soak_*.py; do echo $$script; $(BIN)/python $$script || exit 1; done

messages: $(STAMP) ## List the messages that commits not yet on main change without showing them; SINCE=main.
	@$(BIN)/python tools/changed_messages.py "$(SINCE)..HEAD"

new-rule: $(STAMP) ## Write the skeleton of a rule, with NAME=some-fault CODE=KT499.
	@$(BIN)/python tools/new_rule.py "$(NAME)" "$(CODE)"

schemas: $(STAMP) ## Write what is generated under schemas/ (a new release's libraries are installed for it).
	$(BIN)/python -m kaitoc.schemas.generate.parameter_counts
	$(BIN)/python -m kaitoc.schemas.generate.inference_config
	$(BIN)/python -m kaitoc.schemas.generate.training_config
	$(BIN)/python -m kaitoc.schemas.generate.models

clean: ## Remove what was built.
	rm -rf build dist *.egg-info $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

bench-check: $(STAMP) ## Time `kaitoc check` beside yamllint and check-jsonschema, and its memory on many files.
	$(BIN)/python tests/bench/check/bench_check.py
	$(BIN)/python tests/bench/check/memory_of_check.py --max-growth 1.25
	$(BIN)/python tests/bench/check/memory_of_check.py --kind sound --counts 10000
	$(BIN)/python tests/bench/check/memory_of_check.py --kind varied --counts 10000

bench-memory: $(STAMP) ## Score the memory engine against measured runs, other estimators and the trace.
	$(BIN)/python tests/bench/memory/score.py --write
	$(BIN)/python tests/bench/memory/sharded.py --oracle --large --random 40
	$(BIN)/python tests/bench/memory/trace_cost.py
	$(BIN)/python tests/bench/memory/bench_memory.py --write

bench-runtime: $(STAMP) ## Time the runtime beside a plain trl and peft script, packing beside padding, and tokenization.
	$(BIN)/python tests/bench/runtime/bench_runtime.py
	$(BIN)/python tests/bench/runtime/bench_tokenizing.py

bench-webhook: $(STAMP) ## Load the webhook with 200 clients, hostile ones beside them.
	$(BIN)/python tests/bench/webhook/bench_webhook.py

bench-throughput: $(STAMP) ## Score predicted tokens per second against measured runs.
	$(BIN)/python tests/bench/throughput/score.py --write
	$(BIN)/python tests/bench/throughput/nodes.py
	$(BIN)/python tests/bench/serving/score.py --write

site: $(STAMP) ## Build the documentation's site into build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(STAMP) ## Write the generated pages under docs/.
	$(BIN)/python -m kaitoc.compiler.check.rule_index > docs/rules.md
	$(BIN)/python -m kaitoc.compiler.cli.reference > docs/cli.md
	$(BIN)/python tools/terminal_picture.py > docs/images/check.svg
