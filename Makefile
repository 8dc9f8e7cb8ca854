# SPDX-License-Identifier: Apache-2.0
# Each target brings the environment and the workspace up to date first; that is fast when they are.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
RUN := . .venv/ptp_env.sh &&

.DEFAULT_GOAL := help
.PHONY: help setup demo monitor foxglove sweep lerobot ogbench test bench lint docs links clean lock

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv and build the workspace, or what of them is stale
	@tools/setup.sh

demo: setup  ## run six tasks in simulation; films, pictures and figures in out/demo
	@.venv/bin/ptp demo

monitor: setup  ## add what ptp monitor needs: Rerun, 0.7 GB
	@.venv/bin/python -c 'import numpy; raise SystemExit(numpy.__version__ < "2")' || { echo \
		"monitor: Rerun needs numpy 2, this ROS 2 is built for numpy 1: use RViz" >&2; exit 2; }
	@.venv/bin/python -m pip install --require-hashes --no-deps -r requirements-monitor.lock

foxglove: setup  ## add what ptp foxglove needs: Foxglove's SDK, 54 MB
	@.venv/bin/python -m pip install --require-hashes --no-deps -r requirements-foxglove.lock

sweep: setup  ## add what ptp sweep --ray needs: Ray
	@.venv/bin/python -m pip install --require-hashes --no-deps -r requirements-sweep.lock

lerobot: setup  ## add what ptp export and import lerobot need: pyarrow and PyAV, 0.26 GB
	@.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements-lerobot.lock

# An environment of its own: the simulator's numpy and MuJoCo need not be ours. -I: nothing of a
# sourced ROS 2 counts as installed there.
OGBENCH := .venv-ogbench
ogbench: setup  ## add OGBench, for --env ogbench:..., in .venv-ogbench: 0.55 GB
	@.venv/bin/python -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' || { echo \
		"ogbench: MuJoCo 4 needs Python 3.11 or newer" >&2; exit 2; }
	@test -x $(OGBENCH)/bin/python || .venv/bin/python -m venv --without-pip $(OGBENCH)
	@.venv/bin/python -I -m pip --python $(OGBENCH)/bin/python install --quiet --require-hashes \
		--no-deps -r requirements-ogbench.lock

# Graphs of nodes need the cores for themselves; tests of the packages without one share them.
# Processes run in real time, so a test marked `process` has a second try, as with colcon's
# --retest-until-pass. All of these are in the second call, which fails when it needs more than 3
# (conftest.py). Status 5: ARGS picked none of these.
ALONE := src/ptp_core src/ptp_robot src/ptp_cli
test: lerobot foxglove  ## run every test; ARGS="-k planner" picks some
	@$(RUN) export OMP_NUM_THREADS=1; status=0; \
		python -m pytest -n 2 --dist loadfile $(ALONE) $(ARGS) || [ $$? = 5 ] || status=1; \
		python -m pytest $(addprefix --ignore=,$(ALONE)) $(ARGS) || [ $$? = 5 ] || status=1; \
		exit $$status

bench: setup  ## measure simulator, planner and control; figures in out/bench.json
	@.venv/bin/ptp bench

lint: setup  ## check style, imports, formatting, shell scripts, docker/ and .github/
	@$(RUN) ruff check . && ruff format --check .
	@$(RUN) shellcheck .ci/run tools/setup.sh docker/entrypoint.sh
	@$(RUN) hadolint --config docker/hadolint.yaml docker/Dockerfile
	@$(RUN) check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	@$(RUN) check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	@$(RUN) check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(RUN) check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*_re*.yml

# Sphinx has an environment of its own, which sees .venv behind it: it wants an older docutils.
DOCS := .venv/docs
SPHINX := $(DOCS)/bin/python -m sphinx -j auto -q -W --keep-going -c docs -d out/docs/doctrees
$(DOCS)/stamp: requirements-docs.lock | setup
	@.venv/bin/python -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' || { echo \
		"docs: Sphinx needs Python 3.11 or newer" >&2; exit 2; }
	@rm -rf $(DOCS)
	@.venv/bin/python -m venv --without-pip $(DOCS)
	@.venv/bin/python -m pip --python $(DOCS)/bin/python install --quiet --require-hashes --no-deps \
		-r requirements-docs.lock
	@.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(DOCS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ptp.pth"
	@touch $@

SPHINX_LINKS := $(SPHINX) -D nb_execution_mode=off -d out/docs/links/doctrees
CHECK_LINKS := .venv/bin/python -I docs/check_links.py
docs: setup $(DOCS)/stamp  ## build the site and run its notebooks; out/docs/html
	@$(RUN) $(SPHINX) -b html . out/docs/html
	@$(CHECK_LINKS) out/docs/html
	@echo "site: out/docs/html/index.html"

links: setup $(DOCS)/stamp  ## check the links of the site; WEB=1 also those to other sites
	@$(RUN) $(SPHINX_LINKS) -b html . out/docs/links/html
	@$(CHECK_LINKS) out/docs/links/html
	@if [ -n "$(WEB)" ]; then $(RUN) $(SPHINX_LINKS) -b linkcheck . out/docs/links/web; fi

clean:  ## remove .venv, .venv-ogbench and what was built; out/ and data stay
	rm -rf .venv $(OGBENCH) build install log .pytest_cache .ruff_cache
	find src test tools bench launch plugins -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# What torch imports beside CUDA stands in requirements.lock already.
TORCH_NEEDS := filelock fsspec jinja2 markupsafe mpmath networkx setuptools sympy typing-extensions
lock: setup  ## resolve requirements.in into requirements.lock
	@.venv/bin/python -m pip install --quiet uv==0.13.8
	@.venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" requirements.in -o requirements.lock
	@.venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --quiet \
		--custom-compile-command "make lock" -c requirements.lock \
		$(addprefix --no-emit-package ,$(TORCH_NEEDS)) \
		requirements-torch.in -o requirements-torch-cuda.lock
	@if [ -n "$${PTP_TORCH_INDEX:-}" ]; then sed -n 's/^torch==.*/&+cpu/p' requirements-torch.in \
		| .venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --quiet \
		--custom-compile-command "make lock" --no-deps --default-index "$$PTP_TORCH_INDEX" \
		- -o requirements-torch-cpu.lock; fi
	@.venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" -c requirements.lock \
		requirements-lerobot.in -o requirements-lerobot.lock
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" -c requirements.lock \
		-c requirements-lerobot.lock \
		requirements-monitor.in -o requirements-monitor.lock
	@.venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" -c requirements.lock \
		requirements-foxglove.in -o requirements-foxglove.lock
	@.venv/bin/uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" -c requirements.lock \
		requirements-sweep.in -o requirements-sweep.lock
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" \
		requirements-ogbench.in -o requirements-ogbench.lock
	@sed '/^docutils==/d; /--hash/d; s/ \\$$//' requirements.lock \
		| .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" -c - \
		requirements-docs.in -o requirements-docs.lock
