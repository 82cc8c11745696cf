# Everything a newcomer needs: `make demo`. `make help` lists the rest. Works with GNU make 3.81 and later.

PYTHON ?= python3  ## Python 3.10 to 3.12 from which .venv is made
ENVOYS = 2  ## demo: collaborators, each with a copy of the envoy folder; certs: so many, or their names
ROUNDS = 3  ## demo: training rounds
PARTITION = iid  ## demo: iid | speaker (no speaker in two shards) | dirichlet (skewed words) | quantity (sizes)
ALPHA = 0.5  ## demo: of dirichlet and quantity; the smaller, the more skew
MODEL = tiny  ## demo: tiny | scratch (tiny untrained) | facebook/wav2vec2-base or another hub id | folder of a model
TUNING = full  ## demo: full (all but the feature encoder is trained) | lora (adapters and head) | head
STRATEGY = fedavg  ## demo: fedavg | fedprox | fedadam | fedyogi | median | trimmed_mean
BASELINE =  ## demo: model trained beside it for comparison, or none; default: scratch beside tiny
DATA = synthetic  ## demo, compare: synthetic | folder of the Speech Commands training archive
TEST_DATA =  ## demo, compare: folder of the test archive; default: speech_commands_test_set_v0.01 beside DATA
SEED = 0  ## demo, data: of synthetic speech, partition, initial weights and training
CERTS_USER = notebook  ## certs: the name under which the notebook submits experiments
ifndef HOST  # some shells export one, which a value here would change for every recipe
HOST = localhost  ## certs: names and addresses under which the director is dialled
endif
CERTS_OPTIONS =  ## certs: such as --list, --days 90, '--force NAME' to make a key anew
LAB_OPTIONS =  ## lab: for JupyterLab, such as --no-browser, or --allow-root in a container
TESTS = tests  ## test, test-all: what pytest runs, such as tests/demo

# The comments above leave spaces at the ends of the values.
override PYTHON := $(strip $(PYTHON))
DEMO_OPTIONS = --envoys '$(strip $(ENVOYS))' --rounds '$(strip $(ROUNDS))' --partition '$(strip $(PARTITION))' \
  --alpha '$(strip $(ALPHA))' \
  --model '$(strip $(MODEL))' --tuning '$(strip $(TUNING))' --strategy '$(strip $(STRATEGY))' \
  --baseline '$(strip $(BASELINE))' \
  --data '$(strip $(DATA))' --test-data '$(strip $(TEST_DATA))' --seed '$(strip $(SEED))'

# An option with the value of a variable, if the command line of make has it.
given = $(if $(filter command,$(origin $(2))),$(1) $(strip $($(2))))

MAKEFILE = $(firstword $(MAKEFILE_LIST))
VENV = .venv
RUN = $(VENV)/bin/python
NOTEBOOK = PyTorch_Huggingface_transformers_SUPERB.ipynb
PIP_INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL = help
.PHONY: help demo test test-all lint lab certs data check-data pretrain drills compare bench-transport bench-data install clean

help:  ## show this list
	@echo "make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F'  ## ' '/^[a-z-]+:.*  ## / {sub(/:.*/, "", $$1); printf "  %-18s%s\n", $$1, $$2}' $(MAKEFILE)
	@echo
	@awk -F'  ## ' '/^[A-Z_]+ [?]?=.*  ## / {sub(/ [?]?= ?/, "=", $$1); printf "  %-18s%s\n", $$1, $$2}' $(MAKEFILE)

demo: $(VENV)/.installed  ## run director, envoys and notebook, print the results; they stay in runs/latest
	@$(RUN) -m demo $(DEMO_OPTIONS)

# Two at a time, whatever the machine: each may start a director and envoys, 600 MB a process.
PYTEST = $(RUN) -m pytest -n 2

test: $(VENV)/.installed-dev  ## run the tests that are quick, five minutes
	$(PYTEST) -m 'not slow' $(TESTS)

test-all: $(VENV)/.installed-dev  ## run all tests; as root on Linux also across network namespaces
	$(PYTEST) $(TESTS)

lint: $(VENV)/.installed-dev  ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

lab: $(VENV)/.installed  ## open the notebook in JupyterLab
	cd workspace && ../$(RUN) -m jupyter lab $(NOTEBOOK) $(LAB_OPTIONS)

certs: $(VENV)/.installed  ## make keys and certificates for director, notebook and ENVOYS in certs/, for TLS
	@$(RUN) -m certificates --user '$(strip $(CERTS_USER))' $(call given,--host,HOST) $(call given,--envoys,ENVOYS) \
	  $(strip $(CERTS_OPTIONS))

data: $(VENV)/.installed  ## make the synthetic speech in the user's cache, unless it is there
	cd envoy && ../$(RUN) -m speech_commands.synthetic --seed '$(strip $(SEED))'

check-data: $(VENV)/.installed  ## look through DATA, a folder of clips: counts, doubles, damage; exit code 1 if any
	@test '$(strip $(DATA))' != synthetic || { echo 'make check-data DATA=FOLDER: a folder is needed' >&2; exit 2; }
	@cd envoy && ../$(RUN) -m speech_commands.check '$(abspath $(strip $(DATA)))' \
	  $(if $(strip $(TEST_DATA)),--test-data '$(abspath $(strip $(TEST_DATA)))')

drills: $(VENV)/.installed-dev  ## kill, cut and fill things on purpose; see docs/reliability.md
	$(RUN) -m benchmarks.drills

compare: $(VENV)/.installed-dev  ## train centralised, alone and federated on DATA, three seeds; two hours
	@$(RUN) -m benchmarks.compare --data '$(strip $(DATA))' --test-data '$(strip $(TEST_DATA))'; status=$$?; \
	  test $$status -le 1 || exit $$status; \
	  $(RUN) -m benchmarks.report_compare && exit $$status  # of the finished rows, also when a run has failed

bench-transport: $(VENV)/.installed-dev  ## measure rounds without training, beside Flower and OpenFL as shipped
	$(RUN) -m benchmarks.transport --engine all --growth

bench-data: $(VENV)/.installed-dev  ## measure opening and reading a full-size shard; needs ../shared
	$(RUN) -m benchmarks.data

pretrain: $(VENV)/.installed  ## make the miniature that ships anew, from synthetic speech; 20 minutes
	$(RUN) -m pretraining

install: $(VENV)/.installed  ## make .venv with the requirements

clean:  ## remove .venv, caches and unfinished runs; finished runs and the speech cache stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build director/work envoy/work
	rm -rf runs/.partial-* runs/.latest-* runs/failed-*
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

# A stamp is newer than what it depends on once that is done; an interrupted step is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "$(PYTHON) is `$(PYTHON) --version 2>&1`; Python 3.10 to 3.12 is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: requirements.txt $(VENV)/.made
	@echo "Installing the requirements into $(VENV), a few minutes the first time ..."
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@
