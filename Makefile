# Everything a newcomer needs: `make demo`. `make help` lists the rest. Works with GNU make 3.81 and later.

PYTHON ?= python3  ## Python 3.10 or later from which .venv is made
ENGINE = openfl  ## demo: openfl (director and envoys) | flower (SuperLink and SuperNodes)
NOTEBOOK = 1  ## demo, lab: 1 to 6, the number of a notebook in workspace/, or a notebook's file
ENVOYS = 2  ## demo: collaborators, each with a copy of the envoy folder; certs: so many, or their names
PARTITION = iid  ## demo, simulate: iid | speaker (no speaker in two shards) | dirichlet (skewed words) | quantity (sizes)
ALPHA = 0.5  ## demo, simulate: of dirichlet and quantity; the smaller, the more skew
ROUNDS =  ## demo, simulate: training rounds; unset, this and the next three: the notebook's, or simulate's 20, tiny, full, fedavg
MODEL =  ## demo, simulate: tiny | scratch (tiny untrained) | facebook/wav2vec2-base or another hub id | folder of a model
TUNING =  ## demo, simulate: full (all but the feature encoder is trained) | lora (adapters and head) | head
STRATEGY =  ## demo, simulate: fedavg | fedprox | fedadam | fedyogi | median | trimmed_mean
CLIENTS = 200  ## simulate: clients; with PARTITION=speaker (here the default) each has one speaker
FRACTION = 0.05  ## simulate: share of the clients with training clips that train in a round
EVALUATE = 1  ## simulate: share of the clients with validation clips that validate each round's model
EPOCHS =  ## simulate: epochs of a client over its clips in a round; unset: the model's recipe
BASELINE =  ## demo: model trained for comparison, in notebook 3
TRACK =  ## demo: where records are written too: tensorboard | mlflow | wandb, several with commas
DATA = synthetic  ## demo, simulate, compare, bench-engines: synthetic | folder of the Speech Commands training archive
TEST_DATA =  ## folder of the test archive (speech_commands_test_set_v0.01 next to DATA), or testing_list; export: test clips
QUICK =  ## compare: 1 for the main rows with one seed, about 20 minutes; in benchmarks/results/own/
AGAIN =  ## compare: 1 to run again what is finished
SEED = 0  ## demo, simulate, data: of synthetic speech, partition, initial weights, training and of who trains
CERTS_USER = notebook  ## certs: the name under which the notebook submits experiments
ifndef HOST  # some shells export one, which a value here would change for every recipe
HOST = localhost  ## certs: names and addresses under which the director is dialled
endif
CERTS_OPTIONS =  ## certs: such as --list, --days 90, '--force NAME' to make a new key
LAB_OPTIONS =  ## lab: for JupyterLab, such as --no-browser, or --allow-root in a container
BOARD_OPTIONS =  ## board: for TensorBoard, such as --port 6007
RUN = runs/latest  ## export: folder of a run
TESTS = tests  ## test, test-all: what pytest runs, such as tests/demo

# Recipes read these values as shell variables, "$$its_data": what is pasted into a recipe is taken apart at blanks,
# quotes and dollars. Of the file's own values the blanks before the comments above are dropped.
as_typed = $(if $(filter file,$(origin $(1))),$(strip $($(1))),$(value $(1)))
# The same, if the command line of make has it.
given = $(if $(filter command,$(origin $(1))),$(value $(1)))
export its_python = $(call as_typed,PYTHON)
export its_engine = $(call as_typed,ENGINE)
export its_notebook = $(call as_typed,NOTEBOOK)
export its_envoys = $(call as_typed,ENVOYS)
export its_rounds = $(call as_typed,ROUNDS)
export its_partition = $(call as_typed,PARTITION)
export its_alpha = $(call as_typed,ALPHA)
export its_model = $(call as_typed,MODEL)
export its_tuning = $(call as_typed,TUNING)
export its_strategy = $(call as_typed,STRATEGY)
export its_clients = $(call as_typed,CLIENTS)
export its_fraction = $(call as_typed,FRACTION)
export its_evaluate = $(call as_typed,EVALUATE)
export its_epochs = $(call as_typed,EPOCHS)
export given_partition = $(call given,PARTITION)
export its_baseline = $(call as_typed,BASELINE)
export its_track = $(call as_typed,TRACK)
export its_data = $(call as_typed,DATA)
export its_test_data = $(call as_typed,TEST_DATA)
export its_quick = $(call as_typed,QUICK)
export its_again = $(call as_typed,AGAIN)
export its_seed = $(call as_typed,SEED)
export its_user = $(call as_typed,CERTS_USER)
export its_run = $(call as_typed,RUN)
export its_tests = $(call as_typed,TESTS)
export given_host = $(call given,HOST)
export given_envoys = $(call given,ENVOYS)
# Make would expand the dollars in them to pass them on.
unexport PYTHON ENGINE NOTEBOOK ENVOYS ROUNDS PARTITION ALPHA MODEL TUNING STRATEGY BASELINE TRACK DATA TEST_DATA SEED
unexport QUICK AGAIN CLIENTS FRACTION EVALUATE EPOCHS CERTS_USER CERTS_OPTIONS LAB_OPTIONS BOARD_OPTIONS RUN TESTS
# The first would hide this folder's packages, the second the library of .venv, the third take a `cd` elsewhere.
unexport PYTHONSAFEPATH PYTHONHOME CDPATH

VENV = .venv
VENV_PYTHON = $(VENV)/bin/python
TUTORIAL = PyTorch_Huggingface_transformers_SUPERB.ipynb
# Installing takes minutes the first time: pip shows its progress in a terminal. It need not say that OpenFL asks
# for other versions.
PIP_INSTALL = quiet=; test -t 1 || quiet=--quiet; \
  $(VENV_PYTHON) -m pip install $$quiet --disable-pip-version-check --no-warn-conflicts

.DEFAULT_GOAL = help
.PHONY: help demo simulate runs export test test-all lint lab board certs data check-data pretrain drills compare bench-by-hand bench-transport bench-engines bench-data bench-gpu envoy-kit install constraints clean

help:  ## show this list
	@echo "make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F'  ## ' '/^[a-z-]+:.*  ## / {sub(/:.*/, "", $$1); printf "  %-22s%s\n", $$1, $$2}' Makefile
	@echo
	@awk -F'  ## ' '/^[A-Z_]+ [?]?=.*  ## / {sub(/ [?]?= ?/, "=", $$1); printf "  %-22s%s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed$(if $(filter flower,$(ENGINE))$(filter 5 5_%,$(value NOTEBOOK)),-flower)  ## run a federation and a notebook, print the results; they stay in runs/latest
	@$(VENV_PYTHON) -m demo --engine="$$its_engine" --notebook="$$its_notebook" --envoys="$$its_envoys" \
	  --partition="$$its_partition" \
	  --alpha="$$its_alpha" --rounds="$$its_rounds" --model="$$its_model" --tuning="$$its_tuning" \
	  --strategy="$$its_strategy" --baseline="$$its_baseline" --track="$$its_track" --data="$$its_data" \
	  --test-data="$$its_test_data" --seed="$$its_seed"

runs: $(VENV)/.installed  ## list the finished runs: how each was trained, its accuracy, seconds and traffic
	@mkdir -p runs && PYTHONPATH="workspace$${PYTHONPATH:+:$$PYTHONPATH}" $(VENV_PYTHON) -m superb_notebook.runs runs

export: $(VENV)/.installed-extra  ## write the model of RUN as ONNX files, check them on test clips, print size and speed
	@PYTHONPATH="workspace$${PYTHONPATH:+:$$PYTHONPATH}" $(VENV_PYTHON) -m superb_notebook.export \
	  $${its_test_data:+--test-data="$$its_test_data"} -- "$$its_run"

simulate: $(VENV)/.installed-flower  ## many clients on this machine, by Flower's engine; results in runs/latest
	@$(VENV_PYTHON) -m simulation --clients="$$its_clients" --fraction="$$its_fraction" --evaluate="$$its_evaluate" \
	  --rounds="$$its_rounds" --epochs="$$its_epochs" --partition="$$given_partition" --alpha="$$its_alpha" \
	  --model="$$its_model" --tuning="$$its_tuning" --strategy="$$its_strategy" --data="$$its_data" \
	  --test-data="$$its_test_data" --seed="$$its_seed"

# Two at a time, whatever the machine: each may start a director and envoys, 600 MB a process.
PYTEST = if [ -e "$$its_tests" ]; then set -- "$$its_tests"; else eval "set -- $$its_tests"; fi; \
  $(VENV_PYTHON) -m pytest -n 2

test: $(VENV)/.installed-dev  ## run the tests that are quick, real director and envoys included; half an hour on two cores
	@$(PYTEST) -m 'not slow' "$$@"

test-all: $(VENV)/.installed-dev  ## run all tests; as root on Linux also across network namespaces
	@$(PYTEST) "$$@"

lint: $(VENV)/.installed-dev  ## check style and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	@rm -rf build/notebooks && $(VENV_PYTHON) -m nbconvert --log-level=WARN --to=python --output-dir=build/notebooks workspace/*.ipynb
	$(VENV_PYTHON) -m mypy

lab: $(VENV)/.installed$(if $(filter 5 5_%,$(value NOTEBOOK)),-flower)$(if $(filter 6 6_%,$(value NOTEBOOK)),-extra)  ## open NOTEBOOK in JupyterLab; the first time, 5 installs Flower and 6 the recorder
	@cd workspace && if test "$$its_notebook" = 1; then file=$(TUTORIAL); else \
	  for file in "$$its_notebook"_*.ipynb "../$$its_notebook" "$$its_notebook"; do test -f "$$file" && break; done; \
	  test -f "$$file" || { echo "make lab NOTEBOOK=$$file: no such notebook; legal: 1 to 6, or a file" >&2; exit 2; }; \
	  fi; exec ../$(VENV_PYTHON) -m jupyterlab "$$file" $(value LAB_OPTIONS)

board: $(VENV)/.installed-extra  ## open TensorBoard on runs/, for runs with TRACK=tensorboard; installs it on first use
	@mkdir -p runs && exec $(VENV_PYTHON) -m tensorboard.main --logdir runs $(value BOARD_OPTIONS)

certs: $(VENV)/.installed  ## make keys and certificates for director, notebook and ENVOYS in certs/, for TLS
	@set -f; $(VENV_PYTHON) -m certificates --user="$$its_user" $${given_host:+--host $$given_host} \
	  $${given_envoys:+--envoys $$given_envoys} $(value CERTS_OPTIONS)

data: $(VENV)/.installed  ## make the synthetic speech in the user's cache, unless it is there
	cd envoy && ../$(VENV_PYTHON) -m speech_commands.synthetic --seed="$$its_seed"

check-data: $(VENV)/.installed  ## look through DATA, a folder of clips: counts, doubles, damage; exit code 1 if any
	@test "$$its_data" != synthetic || { echo 'make check-data DATA=FOLDER: a folder is needed' >&2; exit 2; }
	@PYTHONPATH="envoy$${PYTHONPATH:+:$$PYTHONPATH}" $(VENV_PYTHON) -m speech_commands.check \
	  $${its_test_data:+--test-data="$$its_test_data"} -- "$$its_data"

drills: $(VENV)/.installed-dev  ## kill, cut and fill things on purpose; see docs/reliability.md
	$(VENV_PYTHON) -m tests.drills

compare: $(VENV)/.installed-dev  ## train centralised, alone and federated on DATA, five seeds of the main rows; about four hours
	@$(VENV_PYTHON) -m benchmarks.compare --data="$$its_data" --test-data="$$its_test_data" --quick="$$its_quick" \
	  --again="$$its_again"

bench-by-hand: $(VENV)/.installed-dev  ## compare envoys started by hand with `make demo` and one plain process
	$(VENV_PYTHON) -m benchmarks.by_hand

bench-transport: $(VENV)/.installed-dev  ## measure rounds without training, against Flower and OpenFL as shipped
	$(VENV_PYTHON) -m benchmarks.transport --engine all --growth

bench-engines: $(VENV)/.installed-dev  ## measure learning on each engine, simulated rounds, their memory, and how well many speakers learn
	@$(VENV_PYTHON) -m benchmarks.engines --data="$$its_data" --test-data="$$its_test_data"

bench-data: $(VENV)/.installed-dev  ## measure opening and reading a full-size shard; needs ../shared, else python -m benchmarks.data --sample FOLDER
	$(VENV_PYTHON) -m benchmarks.data

bench-gpu: $(VENV)/.installed-dev  ## measure the training of a wav2vec2-base on a GPU against plain loops
	$(VENV_PYTHON) -m benchmarks.training --device cuda --model base --tuning full lora head --scale 20

pretrain: $(VENV)/.installed  ## make the tiny model again, from synthetic speech; needs Flite; up to 2 1/4 hours
	$(VENV_PYTHON) -m pretraining

# Everything in one folder, of which pip needs no other: on the new machine, sd_requirements.txt says how to go on.
KIT = build/envoy-kit
envoy-kit: $(VENV)/.installed  ## pack the envoy's folder with all that it needs of ours, for another machine
	@rm -rf $(KIT) node/build && mkdir -p $(KIT) && cp -R envoy $(KIT)/envoy
	@cd $(KIT)/envoy && rm -rf work approval personal && find . -name __pycache__ -prune -exec rm -rf {} +
	@$(VENV_PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(KIT)/envoy ./node
	@rm -rf node/build
	@cp constraints.txt $(KIT)/envoy
	@cd $(KIT)/envoy && wheel=`ls superb_node-*.whl` && \
	  sed "s|^-e \.\./node|./$$wheel|" ../../../envoy/sd_requirements.txt > sd_requirements.txt && \
	  echo "-c constraints.txt" >> sd_requirements.txt
	@tar -czf build/envoy-kit.tar.gz -C $(KIT) envoy && echo build/envoy-kit.tar.gz

install: $(VENV)/.installed  ## make .venv with the requirements

clean:  ## remove .venv, caches and unfinished runs; finished runs, personal models and the speech cache stay
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis build director/work envoy/work
	rm -rf node/build node/superb_node.egg-info
	rm -rf runs/.partial-* runs/.latest-* runs/failed-*
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

constraints: $(VENV)/.installed-dev  ## work out constraints.txt again: the newest of everything, for all Python versions
	$(VENV_PYTHON) -m uv pip compile --universal --python-version 3.10 --upgrade --no-annotate --no-header --quiet \
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

$(VENV)/.installed-extra: requirements-extra.txt $(VENV)/.installed
	@$(PIP_INSTALL) -r requirements-extra.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-flower: requirements-flower.txt $(VENV)/.installed
	@$(PIP_INSTALL) -r requirements-flower.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed-extra $(VENV)/.installed-flower
	@$(PIP_INSTALL) -r requirements-dev.txt -c constraints.txt
	@touch $@
