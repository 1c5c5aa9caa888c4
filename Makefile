# Each target makes its own .venv when there is none; only Python >= 3.11 with pip, and make, are needed.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# One more than there are processors: a test often waits for a disk, a timer or a killed process.
WORKERS = $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")
export TOKENIZERS_PARALLELISM ?= true
# Whatever the environment says, compiled code is kept: tests start many processes, which would
# compile all of it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check bench faults reproduce gallery docs site format clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,bench]'
	@$(RUN)/python scripts/check_torch.py
	touch $@

demo: $(VENV)/installed  ## Fit the packaged MiniLM to real code, with the proof (about ten minutes)
	$(RUN)/isometry fit python:networkx --limit 1500 --out demo-space
	$(RUN)/isometry search demo-space "nodes whose removal disconnects the graph"

test: $(VENV)/installed  ## Run the tests
	$(RUN)/python scripts/fetch_test_tools.py
	$(RUN)/python scripts/fetch_data.py
	$(RUN)/pytest --numprocesses $(WORKERS) --dist worksteal

faults: $(VENV)/installed  ## Kill every writer many times, and send the server 10,000 bad bodies (hours)
	ISOMETRY_KILLS=20 $(RUN)/pytest tests/jobs/test_resume.py tests/jobs/test_faults.py tests/systems/test_killed_reproduction.py
	ISOMETRY_KILLS=1000 $(RUN)/pytest tests/core/test_journal.py tests/jobs/test_store.py -k killed
	ISOMETRY_KILLS=20 $(RUN)/pytest tests/serving/test_document_writes.py -k killed
	ISOMETRY_FUZZ=10000 $(RUN)/pytest tests/serving/test_fuzz.py tests/serving/test_openapi.py

check: $(VENV)/installed  ## Lint, formatting, types, and the order of the folders
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/pyright
	$(RUN)/lint-imports

bench: $(VENV)/installed  ## Figures that take longer than a test (hours, after `make demo`)
	$(RUN)/python scripts/fetch_data.py
	$(RUN)/python benchmarks/retention.py demo-space
	$(RUN)/python benchmarks/encode.py
	$(RUN)/python benchmarks/memory.py
	$(RUN)/python benchmarks/search.py
	$(RUN)/python benchmarks/serve.py
	$(RUN)/python benchmarks/fit_vs_plain.py demo-space
	$(RUN)/python benchmarks/real_queries.py

reproduce: $(VENV)/installed  ## Run every system that has no record of this code (hours)
	$(RUN)/python scripts/fetch_data.py
	$(RUN)/isometry reproduce all

gallery: $(VENV)/installed  ## Write the pages about systems out of their source and records
	$(RUN)/python scripts/write_gallery.py

docs: $(VENV)/installed  ## Write the pages that are made out of the source
	$(RUN)/python scripts/list_parts.py
	$(RUN)/python scripts/write_constants.py
	$(RUN)/python scripts/write_limits.py
	$(RUN)/python scripts/write_measured.py
	$(RUN)/python scripts/write_commands.py
	$(RUN)/python scripts/write_http_api.py
	$(RUN)/python scripts/write_python.py

site: $(VENV)/installed  ## Build the documentation in site/; what is broken in it is an error
	$(RUN)/python scripts/build_site.py

format: $(VENV)/installed
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

clean:
	rm -rf $(VENV) .cache site demo-space demo-space.partial
