"""How long `import micro` takes in a fresh interpreter, and what it brings along.

python -m benchmarks.probes.imports
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import entry_points


def main() -> None:
    homes = {entry.module.partition(".")[0] for entry in entry_points(group="micro.plugins")}
    before = set(sys.modules)
    began = time.perf_counter()
    importlib.import_module("micro")
    took = time.perf_counter() - began
    brought = {name.partition(".")[0] for name in set(sys.modules) - before}
    # What the core's own memory plugin is made of is the core; nats is what the NATS plugin needs.
    plugins = brought & ((homes | {"nats"}) - {"micro"})
    modules = len(set(sys.modules) - before)
    line = {"import_ms": took * 1e3, "import_modules": modules, "import_plugins": len(plugins)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
