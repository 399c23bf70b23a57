"""umap-learn's first call in a process, beyond numpy and scipy: python umap_learn_first_call.py ROWS.npy.

Prints CPU seconds and seconds, first all of it, then without importing umap.
"""

import sys
import time

import numpy as np
import scipy.sparse  # noqa: F401

if __name__ == "__main__":
    rows = np.load(sys.argv[1])
    start = np.array([time.process_time(), time.perf_counter()])
    from umap import UMAP

    imported = np.array([time.process_time(), time.perf_counter()])
    UMAP(min_dist=0.5, random_state=0, n_jobs=1).fit_transform(rows)
    done = np.array([time.process_time(), time.perf_counter()])
    print(*(done - start), *(done - imported))
