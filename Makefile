# Two commands do everything on a machine with Python 3.11, git and make:
#   make demo   sets up the locked environment and compares FedProx with FedAvg
#   make test   sets up the locked environment and runs the tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
POETRY := .poetry/bin/poetry
RUN := $(VENV)/bin/python -m
DEMO := multirun/demo-$(shell date +%Y%m%d-%H%M%S)
REPORT := baselines/distilbert_failures/report

# Else every process that starts compiles all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=
export FLWR_TELEMETRY_ENABLED ?= 0
export RAY_USAGE_STATS_ENABLED ?= 0
export POETRY_VIRTUALENVS_IN_PROJECT := true
# Poetry's own client wants more of an index than some mirrors have; this plugin reads the index
# that pip would read, and leaves poetry.lock an ordinary lock file.
INDEX = $(shell .poetry/bin/python -c "import os; from pip._internal.models.index import PyPI; \
	print(os.environ.get('PIP_INDEX_URL', PyPI.simple_url))")

.PHONY: demo test test-slow lint types check docs new-baseline bench fuzz soak report-pdf clean

demo: $(VENV)/.ready
	$(RUN) fedprox.reproduce demo --output $(DEMO)

test: $(VENV)/.ready
	$(RUN) pytest -n 2 --dist loadfile

# What takes longest: whole runs on Ray that are killed, watched, or lose a machine.
test-slow: $(VENV)/.ready
	$(RUN) pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/.ready
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/.ready
	$(RUN) mypy

check: lint types test test-slow

# From the stored results: docs/_build/html/index.html. A warning is an error.
docs: $(VENV)/.ready
	@echo "The first time this takes 2 to 3 minutes."
	@# What warned must be read again, or it would not warn the next time.
	$(RUN) sphinx --jobs auto --fail-on-warning --keep-going --quiet docs docs/_build/html \
		|| { rm -rf docs/_build; exit 1; }
	@echo "Documentation: $(CURDIR)/docs/_build/html/index.html"

# A package of your own in baselines/, which runs: make new-baseline name=my_method
new-baseline: $(VENV)/.ready
	$(RUN) common.scaffold "$(name)"
	$(MAKE) $(VENV)/.ready

# About 40 minutes on a quiet machine with 2 cores; rewrites docs/performance.md.
bench: $(VENV)/.ready .bench/pfl/.ready
	$(VENV)/bin/python tests/benchmarks

# 10,000 generated inputs for each reader of foreign input, instead of 300.
fuzz: $(VENV)/.ready
	FLOWERBED_FUZZ_EXAMPLES=10000 $(RUN) pytest -n 2 --timeout 7200 tests/fuzz

# 2,000 rounds in one process; rewrites the table of docs/faults.md.
soak: $(VENV)/.ready
	$(VENV)/bin/python tests/soak

# From the stored results; leaves $(REPORT)/report.pdf.
report-pdf: $(VENV)/.ready
	@{ command -v pdflatex && kpsewhich IEEEtran.cls; } > /dev/null || { echo "make report-pdf needs \
	pdflatex and IEEEtran.cls: on Debian, texlive-latex-recommended, texlive-fonts-recommended and \
	texlive-publishers." >&2; exit 1; }
	$(RUN) distilbert_failures.paper --output $(REPORT)
	cd $(REPORT) && for pass in 1 2; do \
		SOURCE_DATE_EPOCH=0 pdflatex -interaction=batchmode -halt-on-error report.tex || exit 1; done
	@echo "Report: $(REPORT)/report.pdf"

# A peer has an environment of its own: its dependencies are not ours.
.bench/pfl/.ready:
	$(PYTHON) -m venv .bench/pfl
	printf '*\n' > .bench/.gitignore
	.bench/pfl/bin/pip install --quiet --disable-pip-version-check \
		"pfl==0.6.0" "torch==2.13.0" "numpy>=2,<3"
	touch $@

$(VENV)/.ready: pyproject.toml poetry.lock | $(POETRY)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	POETRY_PYPI_MIRROR_URL="$(INDEX)" $(POETRY) sync --no-interaction --all-extras
	touch $@

$(POETRY):
	$(PYTHON) -m venv .poetry
	.poetry/bin/pip install --quiet --disable-pip-version-check \
		"poetry>=2.1,<2.6" "poetry-plugin-pypi-mirror>=0.6,<0.7"
	touch $@

clean:
	rm -rf $(VENV) .poetry .bench outputs multirun docs/_build docs/api docs/running
