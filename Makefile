# The repository's verbs. Everything happens in .venv, which is made when it is missing.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
EXTRAS := server,otel,examples,binary,dev
CHECKED := edge coordinator gpu_agent
# Python that is linted but not type-checked strictly: predictors and tests are written as users write them.
LINTED := $(CHECKED) migrations infra/binary tests examples benchmarks docs
# Most tests wait more than they work.
TEST_PROCESSES ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# The acceptance scenarios that the single file must pass, too.
WITH_BINARY := tests/acceptance/test_binary.py tests/acceptance/test_predictions.py tests/acceptance/test_predict_here.py \
  tests/acceptance/test_schema.py tests/acceptance/test_serve.py tests/acceptance/test_tokens.py \
  tests/acceptance/test_workers.py tests/acceptance/test_install.py tests/acceptance/test_backup.py
# The official clients that tests run against us: the oldest of them is in .venv.
CLIENTS := build/clients/.installed
CADDY := build/caddy/usr/bin/caddy

.DEFAULT_GOAL := help
.PHONY: help install demo test binary test-binary soak check bench bench-runner bench-cog-server bench-room bench-stored bench-streams bench-blobs docs constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with Cogflare, its examples and the development tools
	@echo "$(VENV)/bin/cogflare is ready"

demo: $(STAMP) ## a server, an agent with three models, and the official Replicate client running each
	@$(VENV)/bin/python examples/demo.py

test: $(STAMP) $(CLIENTS) ## all tests
	@[ "$$(uname)" != Linux ] || command -v systemd-analyze >/dev/null || $(call debian,systemd)
	@[ "$$(uname)" != Linux ] || command -v tini >/dev/null || $(call debian,tini)
	@command -v caddy >/dev/null || ! command -v apt-get >/dev/null || $(MAKE) --no-print-directory $(CADDY)
	@$(VENV)/bin/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

binary: dist/cogflare ## dist/cogflare: one file with the server, the agent and a Python; for Linux

test-binary: $(STAMP) dist/cogflare ## what users do first, done with the single file, as a user without Python packages
	@COGFLARE_BINARY=$(CURDIR)/dist/cogflare $(VENV)/bin/pytest $(WITH_BINARY)

soak: $(STAMP) test-binary ## 10,000 simulated seeds, 200 kills of the server, generated tests with 100 times as many examples
	@$(VENV)/bin/python -m tests.simulation 0:10000
	@COGFLARE_FAULT_ROUNDS=200 $(VENV)/bin/pytest tests/fault/test_server_killed.py
	@$(VENV)/bin/pytest --hypothesis-profile=soak tests/contract/test_openapi.py tests/unit/edge/test_generated.py

check: $(STAMP) ## lint, formatting, types
	@$(VENV)/bin/ruff check $(LINTED)
	@$(VENV)/bin/ruff format --check $(LINTED)
	@$(VENV)/bin/mypy --strict $(CHECKED) benchmarks
	@MYPYPATH=gpu_agent/runtime $(VENV)/bin/mypy --strict --explicit-package-bases -p cog -p coglet

bench: $(STAMP) ## end-to-end predictions per second, as a ratio to a bare echo
	@command -v wrk >/dev/null || $(call debian,wrk)
	@command -v strace >/dev/null || $(call debian,strace)
	@$(VENV)/bin/python benchmarks/main_job.py

bench-runner: $(STAMP) ## what running a model by files and signals costs
	@$(VENV)/bin/python benchmarks/runner.py

bench-room: $(STAMP) ## a million queued, recovery, thousands of sessions and models: about 20 minutes
	@$(VENV)/bin/python benchmarks/room.py

bench-stored: $(STAMP) ## create, get and lists beside a million stored predictions
	@$(VENV)/bin/python benchmarks/stored.py

bench-blobs: $(STAMP) ## a large output to disk and to SeaweedFS, beside curl
	@command -v curl >/dev/null || $(call debian,curl)
	@$(VENV)/bin/python benchmarks/blobs.py

bench-cog-server: $(STAMP) ## cog-server beside Cog's own server, which is installed from the package index
	@$(VENV)/bin/python benchmarks/cog_server.py

bench-streams: $(STAMP) ## 500 readers of one prediction's stream: times, memory and CPU of each
	@$(VENV)/bin/python benchmarks/streams.py

docs: $(STAMP) ## write the reference pages that are made from the code
	@$(VENV)/bin/python docs/generate.py

constraints: ## pin what .venv holds now
	@{ echo '# Exact versions of everything that `make install` puts into .venv. Made by: make constraints'; \
	  $(VENV)/bin/pip list --format=freeze --exclude-editable --disable-pip-version-check \
	  | grep -viE '^(pip|setuptools|wheel)=='; } > constraints.new
	@mv constraints.new constraints.txt

# What goes into the file, and what puts it there.
dist/cogflare: $(STAMP) $(shell find edge coordinator gpu_agent migrations infra/binary -type f -not -name '*.pyc')
	@[ "$$(uname)" = Linux ] || { echo "the single file is for Linux: make it there" >&2; exit 1; }
	@command -v cc >/dev/null || $(call debian,gcc)
	@echo '#include <zlib.h>' | cc -E - >/dev/null 2>&1 || $(call debian,zlib1g-dev)
	@command -v strip >/dev/null || $(call debian,binutils)
	@$(VENV)/bin/python infra/binary/build.py

clean: ## remove .venv, caches and the demo's data
	rm -rf $(VENV) demo-data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call debian,PACKAGE): install a Debian package, or say in one line what to install by hand.
define debian
{ if ! command -v apt-get >/dev/null; then echo "this needs $(1): install it by hand" >&2; exit 1; fi; \
  if [ "$$(id -u)" = 0 ]; then run=; elif sudo -n true 2>/dev/null; then run=sudo; \
  else echo "this needs $(1): sudo apt-get install $(1)" >&2; exit 1; fi; \
  echo "installing $(1)"; $$run apt-get update -qq; $$run apt-get install -qq -y $(1) >/dev/null; }
endef

# Unpacked and not installed, which would start it as a service.
$(CADDY):
	@echo "unpacking caddy"; mkdir -p build/caddy
	@cd build/caddy && { apt-get download -qq caddy 2>/dev/null || \
	  { apt-get update -qq && apt-get download -qq caddy; }; } && dpkg-deb -x caddy_*.deb .

$(CLIENTS): tests/acceptance/clients/python2.txt tests/acceptance/clients/package.json | $(STAMP)
	@command -v npm >/dev/null || $(call debian,npm)
	@mkdir -p build/clients/javascript
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  --no-deps --upgrade --target build/clients/python2 -r $<
	@cp tests/acceptance/clients/package.json build/clients/javascript/
	@npm install --prefix build/clients/javascript --no-package-lock --no-audit --no-fund --silent
	@touch $@

# Again only when what is to be installed has changed: the stamp is newer than both files otherwise.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Cogflare needs Python 3.11 or newer as $(PYTHON); choose one with: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call debian,python3-venv)
	@test -x $(VENV)/bin/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing Cogflare and its tools into $(VENV) (about a minute)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  -e '.[$(EXTRAS)]' -c constraints.txt
	@# The schema of Compose files is in it; nothing of it runs.
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  --no-deps --upgrade --target build/compose docker-compose==1.29.2
	@# What the workers of 2022 speak with: beside the environment, which has a newer one.
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  --no-deps --upgrade --target build/legacy websockets==10.3
	@# Replicate's next client: it has the name of the one that is in the environment.
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  --no-deps --upgrade --target build/replicate-beta replicate==2.0.0b4 distro==1.9.0
	@touch $@
