# Two commands: `make train` and `make test`. Both make the environment first if it is not there.
CONFIG ?= axolotl_configs/smoke.yaml
ARGS ?=
DATA ?=
FUZZ_SECONDS ?= 3600
export VENV ?= .venv

.PHONY: help train colab test check soak fuzz pictures format setup smoke-base sample-data schema

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

train: ## preflight, training, evaluation; CONFIG=axolotl_configs/mistral_qlora.yaml for the real thing, ARGS="--set key=value"
	@scripts/train.sh $(CONFIG) $(ARGS)

colab: setup ## the same on a machine of Colab, from here: CONFIG=axolotl_configs/mistral_qlora.yaml DATA=my_rows ARGS="--gpu L4"
	@$(VENV)/bin/python -m preflight.remote $(CONFIG) $(if $(DATA),--data "$(DATA)") $(ARGS)

test: setup check ## linters, types and the whole test suite
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: ## linters and types alone
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck scripts/*.sh .ci/run

soak: setup ## every fault that a rented machine has, on real training runs: 40 minutes, and root for its mounts
	$(VENV)/bin/python -m tests.acceptance.soak

fuzz: setup ## mutated configs, checkpoints, archives and rows for FUZZ_SECONDS, an hour by default
	$(VENV)/bin/python -m tests.acceptance.fuzz --seconds $(FUZZ_SECONDS)

setup: ## the environment with the linters and test tools
	@scripts/setup.sh --dev

pictures: setup ## rebuild docs/pictures from real runs; needs Chromium
	AXOLOTL_DO_NOT_TRACK=1 $(VENV)/bin/python scripts/make_pictures.py

format: ## write the code as the linters want it
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

smoke-base: setup ## rebuild the base model of the smoke run: about 15 minutes
	scripts/build_smoke_base.sh

sample-data: setup ## rewrite the sample rows
	$(VENV)/bin/python -m sample_data rows

schema: setup ## rewrite the schemas, after a change of Axolotl's pin, of a tier or of the settings
	AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 $(VENV)/bin/python scripts/generate_schema.py
