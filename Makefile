# What is done every day. `make` alone lists it.
.PHONY: help install run test room lint format demo bench lock audit

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

install:  ## a virtual environment with all that development needs
	python3.11 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pre-commit install

run:  ## serve from the source, started again at each change of it
	.venv/bin/watchfiles --filter python '.venv/bin/vouchers serve' app

test:  ## all tests, as CI runs them
	.venv/bin/pytest

room:  ## the tests of one room: make room ROOM=domain/holds
	.venv/bin/pytest -n 0 tests/$(ROOM)

lint:  ## all that CI checks before the tests
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

format:  ## put the code into form
	.venv/bin/ruff check --fix . && .venv/bin/ruff format .

demo:  ## the main job from end to end
	.venv/bin/vouchers demo

lock:  ## renew the versions that CI and the image install
	requirements/lock --upgrade

audit:  ## look for known faults in those versions; asks a service on the net
	.venv/bin/uv tool run pip-audit --disable-pip --require-hashes -r requirements/dev.txt

bench:  ## one benchmark: make bench NAME=assign
	.venv/bin/python -m benchmarks.$(NAME)
