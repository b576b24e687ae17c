# Two commands are enough:
#   make book    make the environment, run every chapter, build the HTML, say where it is
#   make test    make the environment if there is none, run all tests
# The others: env html pdf smoke lab refresh lock address clean (see README.md).
# PYTHON=/path/to/python chooses the Python that the environment is made with.

BIN := .venv/bin
PACKAGES := .venv/.packages
PROJECT := .venv/.project
PIP := $(BIN)/python -m pip --disable-pip-version-check $(if $(CI),--quiet)
LOCK := requirements/requirements.txt requirements/innvestigate.txt

export TF_CPP_MIN_LOG_LEVEL := 3
# Images for containers often set it: every process would then compile TensorFlow anew, for 15 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book html pdf test env smoke lab refresh lock address clean

book: env
	$(BIN)/python tools/run_chapters.py --profile demo --out _build/executed
	$(BIN)/python tools/build_book.py --notebooks _build/executed

html: env
	$(BIN)/python tools/build_book.py

pdf: env
	$(BIN)/python tools/print_book.py

# In the order of the files: reordered, the longest would come last, on one worker alone.
test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

env: $(PROJECT)

# A changed lock makes the environment anew, since pip would leave behind what the lock dropped.
$(PACKAGES): $(LOCK)
	@python=$$(sh tools/find_python.sh $(PYTHON)) || exit 1; \
	echo "Making .venv with $$($$python --version); this takes some minutes."; \
	$$python -m venv --clear .venv
	@if command -v uv >/dev/null; then \
		uv pip install --python $(BIN)/python --require-hashes -r requirements/requirements.txt; \
	else \
		$(PIP) install --require-hashes -r requirements/requirements.txt; \
	fi
	@# iNNvestigate's metadata forbids today's versions, on which it runs; uv cannot look past that.
	@$(PIP) install --require-hashes --no-deps --ignore-requires-python \
		-r requirements/innvestigate.txt
	@touch $@

$(PROJECT): $(PACKAGES) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --quiet --editable .
	@touch $@

smoke: env
	$(BIN)/python -m pytest -v tests/test_colab.py

lab: env
	$(BIN)/jupyter lab notebooks

refresh: env
	$(BIN)/python tools/refresh_notebooks.py

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (python -m pip install uv)"; exit 1; }
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements/requirements.txt
	echo "innvestigate==2.1.2" | uv pip compile - --no-deps --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements/innvestigate.txt

address: env
	$(BIN)/python tools/set_address.py

clean:
	rm -rf _build
