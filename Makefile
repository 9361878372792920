# make demo: a first look at once, then from simulated images to a trained model and measured images.   make test: linters, type checks and all tests.
# make test-fast: the same without the tests that train networks.    make bench: measure the speed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast test-clients test-orthanc test-ray test-browser lint bench fuzz killtest loadtest clean

demo: .venv/ready
	$(BIN)/python inference.py --task spine_realtime --images Datasets/spine_sample/images --output result/first_look
	@echo
	@echo "Measured with a model that comes with SonoSeg: result/first_look/*_overlay.png. Now one is trained, in some minutes."
	@echo
	$(BIN)/python -m sonoseg.phantom --out Datasets/spine_demo
	$(BIN)/python train_test_data_preparation.py --task spine_demo
	$(BIN)/python image_preprocessing.py --task spine_demo
	$(BIN)/python training.py --task spine_demo --run demo
	$(BIN)/python inference.py --task spine_demo
	@echo
	@echo "Look at:  result/spine_demo/*_overlay.png     the test images with structures and measurements"
	@echo "          result/spine_demo/results.csv       one row per image, depths in millimetres"
	@echo "          Models/spine_demo/curves.png        training curves"
	@echo "          $(BIN)/tensorboard --logdir logs    the same in TensorBoard"

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not training"

# Annotation tools themselves read what SonoSeg writes. They are installed apart, as they need other versions, and are no part of SonoSeg.
test-clients: .venv/ready-for-tests
	$(BIN)/python -m venv .clients
	.clients/bin/python -m pip install --quiet --disable-pip-version-check 'labelme>=6' label-studio-sdk
	QT_QPA_PLATFORM=offscreen SONOSEG_CLIENTS=$$(echo .clients/lib/python3*/site-packages) $(BIN)/python -m pytest tests/clients

# A real archive sends to the DICOM node and gets the results back. Orthanc and DCMTK are Debian's packages, installed where that can be done.
test-orthanc: .venv/ready-for-tests
	@command -v Orthanc dsrdump >/dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq orthanc orthanc-dicomweb dcmtk) \
	  || (echo "Orthanc and DCMTK are missing; install them: sudo apt-get install orthanc orthanc-dicomweb dcmtk"; exit 1)
	SONOSEG_ORTHANC=1 $(BIN)/python -m pytest tests/orthanc tests/dicom/test_output.py tests/dicom/test_report.py

# Archives on Ray clusters of several nodes. Ray brings requests, which opens a socket when MONAI imports it, so it has an environment of its
# own, which sees the packages of .venv.
test-ray: .ray-env/ready
	.ray-env/bin/python -m pytest tests/ray

.ray-env/ready: .venv/ready-for-tests requirements-ray.txt
	$(BIN)/python -m venv .ray-env
	cd .venv/lib/python3*/site-packages && pwd > "$$(echo $(CURDIR)/.ray-env/lib/python3*/site-packages)/of_the_tests.pth"
	.ray-env/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	@touch $@

# The review page in a real browser. Chromium is Debian's package, installed where that can be done, or the one that SONOSEG_CHROMIUM names.
test-browser: .venv/ready-for-tests
	@test -n "$$SONOSEG_CHROMIUM" || command -v chromium >/dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) \
	  || (echo "Chromium is missing; install it: sudo apt-get install chromium"; exit 1)
	SONOSEG_BROWSER=1 $(BIN)/python -m pytest tests/browser

lint: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SonoSeg needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -c "import sonoseg.preprocess.denoise, sonoseg.geometry.capsule"  # compiled once, here
	@touch $@

.venv/ready-for-tests: .venv/ready requirements-dev.txt requirements-bundle.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/bundle -r requirements-bundle.txt
	@touch $@

bench: .venv/ready
	$(BIN)/python -m benchmarks

# Minutes each: damaged inputs, kills at random moments, a large folder. docs/trust.md has their results.
fuzz: .venv/ready-for-tests
	$(BIN)/python -m stress.fuzz

killtest: .venv/ready
	$(BIN)/python -m stress.killtest

loadtest: .venv/ready
	$(BIN)/python -m stress.load

clean:
	rm -rf .venv .clients .ray-env
