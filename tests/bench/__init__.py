"""Benchmarks. `make bench` and `make bench-all`; nothing here is collected by pytest.

    run         canarec beside its peers, in turn, in one run; and scoring alone
    growth      answers/s and memory by users and by movies
    soak        two million requests through one worker: does its memory grow?
    backfill    a worker that was away for a million events, while another one answers
    histories   the fold of a user's events, without Kafka
    profile     where a worker's time goes, by py-spy

Figures belong to the machine and the hour: compare ratios within one run.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, in every process that is started from here
