# Two commands are enough:
#   make book    make the environment, run every chapter, build the HTML, say where it is
#   make test    make the environment if there is none, run the tests of every change
# More tests:
#   make test-book     the chapters as published, compared with their outputs; every page by axe
#   make test-changed  the same comparison, of the chapters that can have changed
#   make test-all      all there are, those of Colab's packages, kills and clusters included
# The others: env html pdf lab refresh lock address size clean (see README.md).
# PYTHON=/path/to/python chooses the Python that the environment is made with.

BIN := .venv/bin
PACKAGES := .venv/.packages
PROJECT := .venv/.project
PIP := $(BIN)/python -m pip --disable-pip-version-check $(if $(CI),--quiet)
LOCK := requirements/requirements.txt requirements/innvestigate.txt requirements/uv.txt
COMPARED := _build/compared
PYTEST := $(BIN)/python -m pytest --durations=40 --durations-min=1
LOCKED := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
# A worker without work takes some of the other's, so that both end at the same time.
TWO := -n 2 --dist worksteal

export TF_CPP_MIN_LOG_LEVEL := 3
# Images for containers often set it: every process would then compile TensorFlow anew, for 15 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book html pdf test test-book test-changed test-slow test-all env lab refresh lock address size clean

book: env
	$(BIN)/python tools/run_chapters.py --profile demo --out _build/executed
	$(BIN)/python tools/build_book.py --notebooks _build/executed

html: env
	$(BIN)/python tools/build_book.py

pdf: env
	$(BIN)/python tools/build_book.py --pdf

test: env
	$(PYTEST) $(TWO)

# A chapter that fails leaves a copy up to the failing cell, which the comparison then shows.
test-book: env
	@rm -rf $(COMPARED)
	-$(BIN)/python tools/run_chapters.py --out $(COMPARED)
	$(PYTEST) -m "book or pages" --executed $(COMPARED) notebooks tests
	$(BIN)/python tools/chapter_digests.py --store notebooks/*.ipynb

test-changed: env
	@rm -rf $(COMPARED); chapters=$$($(BIN)/python tools/chapter_digests.py --drawn) || exit 1; \
	$(BIN)/python tools/run_chapters.py --out $(COMPARED) $$chapters; \
	$(PYTEST) -m book --executed $(COMPARED) $$chapters tests/test_chapter_digests.py

test-slow: env
	$(PYTEST) $(TWO) -m slow

test-all: test test-book test-slow

env: $(PROJECT)

# A changed lock makes the environment anew, since pip would leave behind what the lock dropped.
$(PACKAGES): $(LOCK)
	@python=$$(sh tools/find_python.sh $(PYTHON)) || exit 1; \
	echo "Making .venv with $$($$python --version); this takes some minutes."; \
	$$python -m venv --clear .venv
	@# uv takes half a minute where pip takes three; pip is what every Python brings. Constraints of
	@# pyproject.toml are for the lock: beside hashes uv refuses them.
	@{ $(PIP) install --quiet --require-hashes -r requirements/uv.txt && \
		$(BIN)/uv pip install --no-config --python $(BIN)/python --require-hashes --compile-bytecode \
		$(if $(CI),--quiet) -r requirements/requirements.txt; } || \
	{ echo "uv could not install the packages; pip does, which takes some minutes."; \
		$(PIP) install --require-hashes -r requirements/requirements.txt; }
	@# iNNvestigate's metadata forbids today's versions, on which it runs; uv cannot look past that.
	@$(PIP) install --require-hashes --no-deps --ignore-requires-python \
		-r requirements/innvestigate.txt
	@touch $@

$(PROJECT): $(PACKAGES) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --quiet --editable .
	@touch $@

lab: env
	$(BIN)/jupyter lab notebooks

refresh: env
	$(BIN)/python tools/run_chapters.py --store

lock: env
	$(BIN)/uv pip compile pyproject.toml --all-extras $(LOCKED) -o requirements/requirements.txt
	echo "innvestigate==2.1.2" | $(BIN)/uv pip compile - --no-deps $(LOCKED) -o requirements/innvestigate.txt
	echo "uv" | $(BIN)/uv pip compile - --no-deps $(LOCKED) \
		--constraint requirements/requirements.txt -o requirements/uv.txt

address: env
	$(BIN)/python tools/set_address.py

size:
	@for folder in xaifake tools benchmarks tests; do \
		printf '%-11s%6s lines of Python\n' $$folder \
			$$(find $$folder -name '*.py' -exec cat {} + | wc -l); done

clean:
	rm -rf _build
