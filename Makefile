# Two commands:  make book   and   make test.   The logic lives in Python; see CONTRIBUTING.md.
PYTHON = $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python -m

.PHONY: help setup book serve test release run mutants lint coverage doctor soak clean

help:     ; @sed -n 's/^## //p' Makefile
setup:    ; @test -n "$(PYTHON)" || { echo "No Python 3 found. Install Python 3.11, or name yours: make PYTHON=/path/to/python book"; exit 1; }
	@$(PYTHON) bootstrap.py
## make book      set up, build the book, say where it is
book: setup ; @$(RUN) autograder.authoring book
## make serve     show the book on localhost
serve: setup ; @$(RUN) autograder.authoring serve
## make test      set up, then every check and test
test: setup ; @$(RUN) autograder.authoring test
## make release   write notebooks/ from solutions/
release: setup ; @$(RUN) autograder.authoring release
## make run       execute solutions/ and store their outputs
run: setup ; @$(RUN) autograder.authoring run
## make mutants   the kill matrix: wrong answers must lose their points
mutants: setup ; @$(RUN) autograder.authoring mutants
## make lint      the rules that stages keep
lint: setup ; @$(RUN) autograder.authoring lint
## make coverage  which source item is answered where
coverage: setup ; @$(RUN) autograder.authoring coverage
## make doctor    what this machine can do
doctor: setup ; @$(RUN) xor2gpt doctor
## make soak      what takes minutes to hours: 100 kills, 2,000 submissions
soak: setup ; @.venv/bin/python benchmarks/soak.py
## make clean     remove what was built (.venv stays)
clean:    ; rm -rf _build .cache .authoring .pytest_cache .ruff_cache .hypothesis
