"""Clients are installed apart from the project (`make test-clients`): their packages come after its own."""

import os
import sys

sys.path += [path for path in os.environ.get("SONOSEG_CLIENTS", "").split(os.pathsep) if path]
