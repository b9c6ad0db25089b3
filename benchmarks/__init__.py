"""limelight beside its peers: the same weights, the same machine, the same run.

Whatever is measured runs on two threads, and threads that wait spin for a short while only, as limelight has it
(docs/benchmarks.md, "Threads on a busy machine"); the environment may say otherwise.
"""

import os

# Read when torch is loaded, and by every process that is started from here.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
