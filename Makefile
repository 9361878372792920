# make demo: from a fresh clone to segmented, measured images.   make test: everything the tests need, then the tests.   make bench: how fast it is.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench fuzz killtest loadtest clean

demo: .venv/ready
	$(BIN)/python -m sonoseg.phantom --out Datasets/spine_demo
	$(BIN)/python train_test_data_preparation.py --task spine_demo
	$(BIN)/python image_preprocessing.py --task spine_demo
	$(BIN)/python training.py --task spine_demo --run demo
	$(BIN)/python inference.py --task spine_demo
	@echo
	@echo "Look at:  result/spine_demo/*_overlay.png     the test images with what was found"
	@echo "          result/spine_demo/results.csv       one row per image, depths in millimetres"
	@echo "          Models/spine_demo/curves.png        how the training went"
	@echo "          $(BIN)/tensorboard --logdir logs    the same, live"

test: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SonoSeg needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -c "import sonoseg.preprocess.denoise, sonoseg.geometry.capsule"  # compiles them, so that no result waits for that
	@touch $@

.venv/ready-for-tests: .venv/ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

bench: .venv/ready
	$(BIN)/python -m benchmarks

# Minutes each: broken inputs, sudden deaths, a large folder. docs/trust.md has what came of them.
fuzz: .venv/ready-for-tests
	$(BIN)/python -m stress.fuzz

killtest: .venv/ready
	$(BIN)/python -m stress.killtest

loadtest: .venv/ready
	$(BIN)/python -m stress.load

clean:
	rm -rf .venv
