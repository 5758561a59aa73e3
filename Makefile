# `make run` builds a first package, `make test` checks everything, `make bench` measures,
# `make chaos` kills; all prepare the machine.

STATE ?= ./var
bin := .venv/bin
once := $(if $(filter-out 0 no,$(ONCE)),--once)
parts := $(if $(PARTS),--parts "$(PARTS)")
killer := $(if $(BUILDS),--builds "$(BUILDS)") $(if $(SEED),--seed "$(SEED)") \
	$(if $(MODE),--mode "$(MODE)")
port := $(if $(PORT),--port "$(PORT)")

.PHONY: bench chaos deb docs fuzz help hostchaos hostile install readers run srpm test test-mock uninstall upkeep
.NOTPARALLEL:

help:
	@echo "make run              start the backend, build the sample package, keep serving"
	@echo "make run ONCE=1       the same, and stop after that build"
	@echo "  PORT=n              port of the web pages (default 5000)"
	@echo "  STATE=dir           where everything is kept (default ./var)"
	@echo "make bench            measure latency, memory and speed: build/bench"
	@echo "  PARTS=a,b           only some parts, see docs/performance.md"
	@echo "make chaos            hundreds of builds under a killer: nothing lost, doubled or left"
	@echo "  BUILDS=n SEED=n     how many (default 200), which killer (default: any)"
	@echo "  MODE=m              embedded, proxy or external (default: by seed), see docs/chaos.md"
	@echo "make hostchaos        as root: builds on hosts that are killed, frozen and cut off"
	@echo "  BUILDS=n SEED=n     how many (default 100), which killer (default: any)"
	@echo "make hostile          packages that attack the machine, as root and as a user"
	@echo "  ATTACKS='a b'       only some, see docs/security.md"
	@echo "make fuzz             random requests by the API's own description, see docs/frontend.md"
	@echo "  EXAMPLES=n SEED=n   how many of each operation (default 20), which (default: any)"
	@echo "make upkeep           prune, promote and delete under load and kills"
	@echo "  BUILDS=n SEED=n     how many (default 100), which run (default: any)"
	@echo "make docs             the pages of docs/ as a site: build/docs/index.html"
	@echo "make readers          reads and dnf beside publishers that are killed"
	@echo "  PUBLISHES=n SEED=n  how many (default 200), which run (default: any)"
	@echo "make install          as root: install it as the service copr-backend (DESTDIR, PREFIX)"
	@echo "make uninstall        as root: remove that; data and configuration stay"
	@echo "make test-mock        as root: build with the real mock, from a small distribution made here"
	@echo "  MOCK_GIT=url        on a Debian: where mock is cloned from, see docs/mock.md"
	@echo "make deb              a Debian package for this release: build/deb"
	@echo "  WHEELS=dir          take Python packages from there, not from a package index"
	@echo "make srpm             a source package for Fedora, or for this farm: build/srpm"
	@echo "make test             prepare, then check style, types, imports and run all tests"

run:
	@./conf/setup.sh run
	@exec $(bin)/copr_be.py quickstart --state "$(STATE)" $(once) $(port)

chaos:
	@./conf/setup.sh test
	@exec $(bin)/python -m tests.chaos $(killer)

hostchaos:
	@./conf/setup.sh test
	@exec $(bin)/python -m tests.hostchaos $(if $(BUILDS),--builds "$(BUILDS)") $(if $(SEED),--seed "$(SEED)")

hostile:
	@./conf/setup.sh test
	@$(bin)/python -m tests.hostile $(ATTACKS)

docs:
	@./conf/setup.sh docs
	@rm -rf build/docs
	@$(bin)/sphinx-build -q -W -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

fuzz:
	@./conf/setup.sh test
	@[ -x build/fuzz/venv/bin/st ] || { $(bin)/python -m venv build/fuzz/venv && \
		build/fuzz/venv/bin/pip install -qq --disable-pip-version-check 'schemathesis>=4.32,<5'; }
	@exec $(bin)/python -m tests.fuzz $(if $(EXAMPLES),--examples "$(EXAMPLES)") \
		$(if $(SEED),--seed "$(SEED)")

bench:
	@./conf/setup.sh bench
	@exec $(bin)/python -m tests.bench $(parts)

test:
	@./conf/setup.sh test
	@echo "== ruff check"
	@$(bin)/ruff check .
	@echo "== ruff format"
	@$(bin)/ruff format --check .
	@echo "== mypy"
	@$(bin)/mypy
	@echo "== import-linter"
	@$(bin)/lint-imports --no-logo
	@echo "== pytest"
	@exec $(bin)/pytest -n 4

test-mock:
	@./conf/setup.sh test
	@./tests/mock/install.sh
	@COPR_TEST_MOCK="$${COPR_TEST_MOCK:-1}" exec $(bin)/pytest -v -m mock tests/integration/test_mock_real.py

upkeep:
	@./conf/setup.sh test
	@exec $(bin)/python -m tests.upkeep $(if $(BUILDS),--builds "$(BUILDS)") $(if $(SEED),--seed "$(SEED)")

readers:
	@./conf/setup.sh test
	@exec $(bin)/python -m tests.readers $(if $(PUBLISHES),--publishes "$(PUBLISHES)") $(if $(SEED),--seed "$(SEED)")

deb:
	@WHEELS="$(WHEELS)" ./packaging/deb.sh

srpm:
	@./conf/setup.sh run
	@PYTHON="$(bin)/python" ./packaging/srpm.sh

install uninstall:
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" PYTHON="$(PYTHON)" ./conf/install.sh $@
