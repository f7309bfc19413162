# One command to a result: `make report`. Every target sets up what it needs; doing it again costs seconds.
# TORCH=cpu|cuda chooses the build of torch (default: cuda if an NVIDIA driver is present).
# ONLY="rows=raven,causvid dimensions=color prompts=move_00 samples=0" makes a report of a part of the suite, marked as one.
# SUITE=toybox|ci|tiny|ablations_ci|vbench|ablations chooses workflow/config/<suite>.yaml; ALL=1 makes `make test` run the slow tests too.
# RELEASED=1 trains nothing: every row is sampled from its published weights (report, dry-run, doctor, fetch).
SHELL := /bin/bash
SUITE ?= toybox
TORCH ?=
ALL ?=
MIRROR ?=
BIN := .venv/bin
FETCHED := $(if $(filter toybox,$(SUITE)),vbench,$(SUITE))
ONLY ?=
FLAGS ?=
RELEASED ?=
PLAN ?=
FLASH_ATTN ?=
CHOSEN = $(if $(ONLY),--only "$(ONLY)") $(if $(RELEASED),--released)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help env report dry-run test test-vbench test-rewards campaign check format doctor fetch bench-gpu bench-train bench-score lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## build .venv (torch by pip, the rest from the hashed lock; FLASH_ATTN=3|2|build adds FlashAttention: models/README.md)
	@envs/main/install.sh "$(TORCH)" "$(FLASH_ATTN)"

report: env ## run the pipeline of SUITE (default: toybox) and write reports/table.html
	@raven-bench report --suite $(SUITE) $(CHOSEN) $(FLAGS)

dry-run: env ## say what `make report` would do and why (FLAGS=--list: every job)
	@raven-bench dry-run --suite $(SUITE) $(CHOSEN) $(FLAGS)

# By file and side by side: the quick ones on up to four cores, then the slow ones, which start Snakemake and train, two at a time.
test: env ## run the tests (ALL=1: the slow ones too)
	python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not vbench" tests
	$(if $(ALL),python -m pytest -n 2 --dist loadfile -m "slow and not vbench" tests)

test-vbench: env ## build VBench's environment and test against the official package (DETECTRON2=checkout or wheel; ALL=1: all dimensions)
	@envs/vbench/install.sh $(if $(TORCH),--torch $(TORCH)) --detectron2 "$(or $(DETECTRON2),none)"
	python -m pytest -n 2 --dist worksteal $(if $(ALL),,-m "not slow") tests/vbench tests/evaluation/test_vbench_rewards.py

test-rewards: test-vbench ## then train CM-GRPO with every reward, some of which are computed in that environment
	python -m pytest tests/workflow/test_released_training.py::test_cm_grpo_is_rewarded_by_every_network

campaign: env ## kill runs at random, damage files between stages, give strange ones: a table of what survived (FLAGS="--help": options)
	@python -m tests.campaign $(FLAGS)

check: env ## lint, format and types
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	mypy
	envs/main/lint_workflow.sh

format: env ## put code and rules into shape
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

doctor: env ## say what this machine can run for SUITE, what is missing, and what brings it (SUITE=vbench: the official scorer too; RELEASED=1)
	@raven-bench doctor $(SUITE) $(if $(RELEASED),--released)

fetch: env ## bring and verify the files of SUITE (default here: vbench; RELEASED=1: nothing for training), from MIRROR=folder first; PLAN=1: list them
	@raven-bench fetch $(FETCHED) $(if $(RELEASED),--released) $(if $(MIRROR),--mirror "$(MIRROR)") $(if $(PLAN),--plan)

bench-gpu: env ## time every method at full size with random weights on this GPU -> results/bench/gpu.json (FLAGS="--help": options)
	raven-bench bench gpu $(FLAGS)

bench-train: env ## time the parts of a training step at full size with random weights on this GPU -> results/bench/train.json
	raven-bench bench train $(FLAGS)

bench-score: env ## time the official scorer and ours, dimension by dimension -> results/bench/score.json (DETECTRON2 as above; FLAGS="--help")
	@envs/vbench/install.sh $(if $(TORCH),--torch $(TORCH)) --detectron2 "$(or $(DETECTRON2),none)"
	raven-bench bench score $(FLAGS)

lock: ## remake the hashed locks of envs/ from their requirements.in (needs uv)
	uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 --override envs/main/torch-excluded.txt \
		envs/main/requirements.in -o envs/main/requirements.lock
	uv pip compile -q --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 envs/vbench/requirements.in \
		-o envs/vbench/requirements.lock
	uv pip compile -q --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 envs/vbench_long/requirements.in \
		-o envs/vbench_long/requirements.lock
	for version in 2 3; do uv pip compile -q --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 \
		envs/main/flash-attn-$$version.in -o envs/main/flash-attn-$$version.lock; done

clean: ## remove what runs made (results/, reports/table.html); keeps .venv and resources/
	rm -rf results reports/table.html .snakemake

distclean: clean ## remove .venv and fetched files too
	rm -rf .venv .venvs resources
