"""memcourse: measure how language models remember, in weights, activations and retrieval.

The package has one room for each kind of memory; notebooks/ tells the story in order.
Importing it is cheap: torch and transformers are loaded by the rooms that need them.
"""

import os

__version__ = "0.1.0"

# Set before torch, transformers or the hub's client is imported anywhere; a value that the user has set stays.
for _name, _value in {
    # On Linux, torch's waiting threads spin for long, which makes everything ten times slower when another program is
    # busy. A short spin costs an idle machine next to nothing, but with 1000 the training of tiny models, whose
    # operations take microseconds, takes twice as long (tests/benchmarks/busy_machine.py).
    "GOMP_SPINCOUNT": "5000",
    "TOKENIZERS_PARALLELISM": "false",  # no warning from kernels that fork
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # no bars in stored outputs
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",  # advice that helps no learner on Windows
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "KINETO_LOG_LEVEL": "99",  # torch's profiler is not to write into a notebook
}.items():
    os.environ.setdefault(_name, _value)
