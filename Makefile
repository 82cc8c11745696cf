# Everything a newcomer needs: `make demo`. `make help` lists the rest. Works with GNU make 3.81 and later.

PYTHON ?= python3  ## Python 3.10 or later from which .venv is made
NOTEBOOK = 1  ## demo: 1 to 4, the number of a notebook in workspace/, or a notebook's file
ENVOYS = 2  ## demo: collaborators, each with a copy of the envoy folder; certs: so many, or their names
PARTITION = iid  ## demo: iid | speaker (no speaker in two shards) | dirichlet (skewed words) | quantity (sizes)
ALPHA = 0.5  ## demo: of dirichlet and quantity; the smaller, the more skew
ROUNDS =  ## demo: training rounds; this and the next four are as the notebook has them, unless you set them
MODEL =  ## demo: tiny | scratch (tiny untrained) | facebook/wav2vec2-base or another hub id | folder of a model
TUNING =  ## demo: full (all but the feature encoder is trained) | lora (adapters and head) | head
STRATEGY =  ## demo: fedavg | fedprox | fedadam | fedyogi | median | trimmed_mean
BASELINE =  ## demo: model trained for comparison, in notebook 3
DATA = synthetic  ## demo, compare: synthetic | folder of the Speech Commands training archive
TEST_DATA =  ## folder of the test archive (speech_commands_test_set_v0.01 next to DATA); demo, check-data: or testing_list
SEED = 0  ## demo, data: of synthetic speech, partition, initial weights and training
CERTS_USER = notebook  ## certs: the name under which the notebook submits experiments
ifndef HOST  # some shells export one, which a value here would change for every recipe
HOST = localhost  ## certs: names and addresses under which the director is dialled
endif
CERTS_OPTIONS =  ## certs: such as --list, --days 90, '--force NAME' to make a new key
LAB_OPTIONS =  ## lab: for JupyterLab, such as --no-browser, or --allow-root in a container
TESTS = tests  ## test, test-all: what pytest runs, such as tests/demo

# Recipes read these values as shell variables, "$$its_data": what is pasted into a recipe is taken apart at blanks,
# quotes and dollars. Of the file's own values the blanks before the comments above are dropped.
as_typed = $(if $(filter file,$(origin $(1))),$(strip $($(1))),$(value $(1)))
# The same, if the command line of make has it.
given = $(if $(filter command,$(origin $(1))),$(value $(1)))
export its_python = $(call as_typed,PYTHON)
export its_notebook = $(call as_typed,NOTEBOOK)
export its_envoys = $(call as_typed,ENVOYS)
export its_rounds = $(call as_typed,ROUNDS)
export its_partition = $(call as_typed,PARTITION)
export its_alpha = $(call as_typed,ALPHA)
export its_model = $(call as_typed,MODEL)
export its_tuning = $(call as_typed,TUNING)
export its_strategy = $(call as_typed,STRATEGY)
export its_baseline = $(call as_typed,BASELINE)
export its_data = $(call as_typed,DATA)
export its_test_data = $(call as_typed,TEST_DATA)
export its_seed = $(call as_typed,SEED)
export its_user = $(call as_typed,CERTS_USER)
export its_tests = $(call as_typed,TESTS)
export given_host = $(call given,HOST)
export given_envoys = $(call given,ENVOYS)
# Make would expand the dollars in them to pass them on.
unexport PYTHON NOTEBOOK ENVOYS ROUNDS PARTITION ALPHA MODEL TUNING STRATEGY BASELINE DATA TEST_DATA SEED CERTS_USER
unexport CERTS_OPTIONS LAB_OPTIONS TESTS
# The first would hide this folder's packages, the second the library of .venv, the third take a `cd` elsewhere.
unexport PYTHONSAFEPATH PYTHONHOME CDPATH

VENV = .venv
RUN = $(VENV)/bin/python
TUTORIAL = PyTorch_Huggingface_transformers_SUPERB.ipynb
# Installing takes minutes the first time: pip shows its progress in a terminal. It need not say that OpenFL asks
# for other versions.
PIP_INSTALL = quiet=; test -t 1 || quiet=--quiet; \
  $(RUN) -m pip install $$quiet --disable-pip-version-check --no-warn-conflicts

.DEFAULT_GOAL = help
.PHONY: help demo test test-all lint lab certs data check-data pretrain drills compare bench-by-hand bench-transport bench-data envoy-kit install constraints clean

help:  ## show this list
	@echo "make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F'  ## ' '/^[a-z-]+:.*  ## / {sub(/:.*/, "", $$1); printf "  %-22s%s\n", $$1, $$2}' Makefile
	@echo
	@awk -F'  ## ' '/^[A-Z_]+ [?]?=.*  ## / {sub(/ [?]?= ?/, "=", $$1); printf "  %-22s%s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed  ## run director, envoys and a notebook, print the results; they stay in runs/latest
	@$(RUN) -m demo --notebook="$$its_notebook" --envoys="$$its_envoys" --partition="$$its_partition" \
	  --alpha="$$its_alpha" --rounds="$$its_rounds" --model="$$its_model" --tuning="$$its_tuning" \
	  --strategy="$$its_strategy" --baseline="$$its_baseline" --data="$$its_data" --test-data="$$its_test_data" \
	  --seed="$$its_seed"

# Two at a time, whatever the machine: each may start a director and envoys, 600 MB a process.
PYTEST = if [ -e "$$its_tests" ]; then set -- "$$its_tests"; else eval "set -- $$its_tests"; fi; \
  $(RUN) -m pytest -n 2

test: $(VENV)/.installed-dev  ## run the tests that are quick, real director and envoys included; five minutes
	@$(PYTEST) -m 'not slow' "$$@"

test-all: $(VENV)/.installed-dev  ## run all tests; as root on Linux also across network namespaces
	@$(PYTEST) "$$@"

lint: $(VENV)/.installed-dev  ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@rm -rf build/notebooks && $(RUN) -m nbconvert --log-level=WARN --to=python --output-dir=build/notebooks workspace/*.ipynb
	$(RUN) -m mypy build/notebooks

lab: $(VENV)/.installed  ## open the notebook in JupyterLab
	cd workspace && ../$(RUN) -m jupyterlab $(TUTORIAL) $(value LAB_OPTIONS)

certs: $(VENV)/.installed  ## make keys and certificates for director, notebook and ENVOYS in certs/, for TLS
	@set -f; $(RUN) -m certificates --user="$$its_user" $${given_host:+--host $$given_host} \
	  $${given_envoys:+--envoys $$given_envoys} $(value CERTS_OPTIONS)

data: $(VENV)/.installed  ## make the synthetic speech in the user's cache, unless it is there
	cd envoy && ../$(RUN) -m speech_commands.synthetic --seed="$$its_seed"

check-data: $(VENV)/.installed  ## look through DATA, a folder of clips: counts, doubles, damage; exit code 1 if any
	@test "$$its_data" != synthetic || { echo 'make check-data DATA=FOLDER: a folder is needed' >&2; exit 2; }
	@PYTHONPATH="envoy$${PYTHONPATH:+:$$PYTHONPATH}" $(RUN) -m speech_commands.check \
	  $${its_test_data:+--test-data="$$its_test_data"} -- "$$its_data"

drills: $(VENV)/.installed-dev  ## kill, cut and fill things on purpose; see docs/reliability.md
	$(RUN) -m tests.drills

compare: $(VENV)/.installed-dev  ## train centralised, alone and federated on DATA, three seeds; two hours
	@$(RUN) -m benchmarks.compare --data="$$its_data" --test-data="$$its_test_data"; status=$$?; \
	  test $$status -le 1 || exit $$status; \
	  $(RUN) -m benchmarks.compare.report && exit $$status  # of the finished rows, also when a run has failed

bench-by-hand: $(VENV)/.installed-dev  ## compare envoys started by hand with `make demo` and one plain process
	$(RUN) -m benchmarks.by_hand

bench-transport: $(VENV)/.installed-dev  ## measure rounds without training, against Flower and OpenFL as shipped
	$(RUN) -m benchmarks.transport --engine all --growth

bench-data: $(VENV)/.installed-dev  ## measure opening and reading a full-size shard; needs ../shared
	$(RUN) -m benchmarks.data

pretrain: $(VENV)/.installed  ## make the tiny model again, from synthetic speech; 20 minutes
	$(RUN) -m pretraining

# Everything in one folder, of which pip needs no other: on the new machine, sd_requirements.txt says how to go on.
KIT = build/envoy-kit
envoy-kit: $(VENV)/.installed  ## pack the envoy's folder with all that it needs of ours, for another machine
	@rm -rf $(KIT) node/build && mkdir -p $(KIT) && cp -R envoy $(KIT)/envoy
	@cd $(KIT)/envoy && rm -rf work approval && find . -name __pycache__ -prune -exec rm -rf {} +
	@$(RUN) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(KIT)/envoy ./node
	@rm -rf node/build
	@cp constraints.txt $(KIT)/envoy
	@cd $(KIT)/envoy && wheel=`ls superb_node-*.whl` && \
	  sed "s|^-e \.\./node|./$$wheel|" ../../../envoy/sd_requirements.txt > sd_requirements.txt && \
	  echo "-c constraints.txt" >> sd_requirements.txt
	@tar -czf build/envoy-kit.tar.gz -C $(KIT) envoy && echo build/envoy-kit.tar.gz

install: $(VENV)/.installed  ## make .venv with the requirements

clean:  ## remove .venv, caches and unfinished runs; finished runs and the speech cache stay
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis build director/work envoy/work
	rm -rf node/build node/superb_node.egg-info
	rm -rf runs/.partial-* runs/.latest-* runs/failed-*
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

constraints: $(VENV)/.installed-dev  ## work out constraints.txt again: the newest of everything, for all Python versions
	$(RUN) -m uv pip compile --universal --python-version 3.10 --upgrade --no-annotate --no-header --quiet \
	  --no-emit-package superb-node requirements-dev.txt --output-file constraints.txt

# A stamp is newer than what it depends on once that is done; an interrupted step is done again.
$(VENV)/.made:
	@case "$$its_python" in '~'/*) its_python="$$HOME/$${its_python#*/}";; esac; \
	  said=`"$$its_python" --version 2>&1`; \
	  "$$its_python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$$its_python is $$said; Python 3.10 or later is needed: make PYTHON=python3.13 ..." >&2; exit 1; }; \
	  "$$its_python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
	  echo "$$said: nobody has tried this project with it yet; 3.10 to 3.13 were tried." >&2; \
	  "$$its_python" -m venv $(VENV)
	@touch $@

# OpenFL comes without its metadata's limits; node/pyproject.toml says why.
$(VENV)/.installed: requirements.txt node/pyproject.toml constraints.txt $(VENV)/.made
	@echo "Installing the requirements into $(VENV), a few minutes the first time ..."
	@$(PIP_INSTALL) -r requirements.txt -c constraints.txt
	@$(PIP_INSTALL) --no-deps --ignore-requires-python openfl==1.7.1
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP_INSTALL) -r requirements-dev.txt -c constraints.txt
	@touch $@
