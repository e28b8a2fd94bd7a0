# Every target sets up what it needs in .venv; nothing else has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-full check docs picture screenshots bench audit-dependencies clean

help:
	@echo "make demo       recognise the faces on a photograph; annotated picture in out/"
	@echo "make test       the tests that every change has to pass"
	@echo "make test-full  all tests, with coverage"
	@echo "make check      ruff and mypy"
	@echo "make docs       generated pages, numbers in README and docs, the picture of the README"
	@echo "make screenshots  the pictures of the guides, with Chromium; needed when the default bundle changes"
	@echo "make bench      speed and memory on this machine, beside the recorded figures"
	@echo "make audit-dependencies   known weaknesses in the packages that a release would install (asks PyPI or OSV)"
	@echo "make clean      remove .venv and what the tools leave behind"
	@echo "With another Python: make demo PYTHON=python3.12"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mien needs Python 3.11 or newer; call: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@# A venv without pip (Debian without python3-venv) must not be taken for a good one the next time.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A stamp per set of packages: reinstalled when the project's metadata change, not at every call.
$(VENV)/.core: $(BIN)/python pyproject.toml hatch_build.py
	@echo "installing mien into $(VENV) …"
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml hatch_build.py
	@echo "installing mien with everything that training and tests need into $(VENV); this takes some minutes …"
	@$(BIN)/pip install --quiet --no-compile --editable '.[all,test]'
	@touch $@ $(VENV)/.core

# Ray and a server for object stores: only the full tests need them.
$(VENV)/.test-scale: $(VENV)/.test
	@$(BIN)/pip install --quiet --no-compile --editable '.[all,test,test-scale]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@echo "installing ruff and mypy into $(VENV) …"
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/mien predict examples/astronaut.jpg --draw out

test: $(VENV)/.test
	@# One process per core and one thread per process: threads of several networks would wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not full'

test-full: $(VENV)/.test-scale
	@command -v chromium chromium-browser google-chrome >/dev/null || sudo -n apt-get install -qq -y chromium || apt-get install -qq -y chromium || echo "no Chromium: the browser tests will be skipped"
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || sudo -n apt-get install -qq -y postgresql || apt-get install -qq -y postgresql || echo "no PostgreSQL: the tests of searches on many machines will be skipped"
	@command -v qemu-x86_64 qemu-x86_64-static >/dev/null || sudo -n apt-get install -qq -y qemu-user || apt-get install -qq -y qemu-user || echo "no QEMU: the test of a processor without VNNI will be skipped"
	$(BIN)/python -m pytest --cov=mien --cov-report=term:skip-covered

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/python -m mien.training.describe
	$(BIN)/python docs/generate.py
	$(BIN)/mien leaderboard --tables
	$(MAKE) picture

# What the default bundle says about the portrait; of a new bundle the pages' pictures are drawn anew, too (`screenshots`).
picture: $(VENV)/.core
	$(BIN)/python docs/draw.py

screenshots: $(VENV)/.test
	@command -v chromium chromium-browser google-chrome >/dev/null || sudo -n apt-get install -qq -y chromium || apt-get install -qq -y chromium
	$(BIN)/python docs/draw.py --pages

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

# pip-audit lives in a folder of its own, so that it is not audited with what it audits. --strict: a package that the
# service does not answer for is a failure, not a pass.
AUDIT := .cache/audit
AUDIT_SERVICE ?= pypi
audit-dependencies: $(BIN)/python
	$(PYTHON) -m venv $(AUDIT)/venv
	$(AUDIT)/venv/bin/pip install --quiet pip-audit
	$(BIN)/pip install --quiet --dry-run --ignore-installed --report $(AUDIT)/resolved.json '.[all]'
	$(BIN)/python -c 'import json; found = json.load(open("$(AUDIT)/resolved.json"))["install"]; pins = sorted(m["name"] + "==" + m["version"].partition("+")[0] for m in (i["metadata"] for i in found) if m["name"] != "mien"); open("$(AUDIT)/lock.txt", "w").write("\n".join(pins) + "\n"); print(len(pins), "packages in $(AUDIT)/lock.txt")'
	@# Its status is 1 for a weakness and for no answer alike; only with an answer there is a list.
	@rm -f $(AUDIT)/found.json; status=0; \
	$(AUDIT)/venv/bin/pip-audit --strict --disable-pip --no-deps --vulnerability-service $(AUDIT_SERVICE) \
		--requirement $(AUDIT)/lock.txt --format json --output $(AUDIT)/found.json 2>$(AUDIT)/said || status=$$?; \
	test -s $(AUDIT)/found.json || { echo "nothing is known about the packages in $(AUDIT)/lock.txt: $(AUDIT_SERVICE) told no advisories ($$(tail -n 1 $(AUDIT)/said | cut -c 1-200)); try again where it can be reached, or with the other service, AUDIT_SERVICE=osv" >&2; exit 2; }; \
	$(BIN)/python -c 'import json; found = [(p["name"], p["version"], v["id"], ", ".join(v["fix_versions"]) or "none yet") for p in json.load(open("$(AUDIT)/found.json"))["dependencies"] for v in p.get("vulns", ())]; print(*("%s %s: %s, mended in %s" % row for row in found), "%d known weaknesses" % len(found), sep="\n")'; \
	exit $$status

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache out
