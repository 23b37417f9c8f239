# make demo    the whole loop on real flights         ARGS="--for 60s --json"
# make test    unit, system and page tests            ARGS="tests/streams -k gate"
# make check   what must pass before a change lands: lint, types, all tests, a first run of the demo
# make bench   Weir against its peers; renews docs/performance.md   ARGS=--quick
# make faults  100 faults over 1,000,000 requests, nothing lost     ARGS="--seed 7"
# make swaps   100 model swaps under load, nothing lost     ARGS="--rate 2000"
# make fuzz    hostile statements and requests at a store of its own, for minutes   ROUNDS=200
# make lint    ruff and mypy
# make setup   what they all need; each does it itself where it is missing
# make clean   remove what set-up and the tools made (not .weir/, which holds your data)
SHELL := /bin/bash
.PHONY: setup demo test check bench faults swaps fuzz lint clean

setup:
	@infra/bootstrap.sh run

demo:
	@infra/bootstrap.sh run && exec .venv/bin/weir demo $(ARGS)

# Three at a time: tests of processes wait more than they work. They start hundreds of processes, of
# which each would compile Weir anew where Python may not keep what it compiled.
test:
	@infra/bootstrap.sh test && exec env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# The long ones one at a time, with the first run of the demo last: it has the machine to itself.
check:
	@infra/bootstrap.sh test && infra/bootstrap.sh lint
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test ARGS=
	@exec .venv/bin/pytest -n 0 -m long

bench:
	@infra/bootstrap.sh bench && exec .venv/bin/weir bench --report docs/performance.md $(ARGS)

faults:
	@infra/bootstrap.sh run && exec .venv/bin/weir faults --kills 100 --requests 1000000 --rate 2000 --json $(ARGS)

swaps:
	@infra/bootstrap.sh run && exec .venv/bin/weir faults --swaps 100 --json $(ARGS)

fuzz:
	@infra/bootstrap.sh test && .venv/bin/python -m tests.services.judge_fuzz --rounds $(or $(ROUNDS),50)
	@WEIR_FUZZ_REQUESTS=$$((100 * $(or $(ROUNDS),50))) exec .venv/bin/pytest -n 0 -s tests/services/test_store_hostile.py

lint:
	@infra/bootstrap.sh lint && .venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy

clean:
	rm -rf .venv .venv-alibi .venv-bench .venv-nannyml .venv-drawing .uv infra/broker/lib .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find schemas streams services tests -name __pycache__ -prune -exec rm -rf {} +
