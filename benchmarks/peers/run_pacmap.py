"""PaCMAP with its own settings: python run_pacmap.py IN.npz OUT.npy SEED.

It is another method: it draws its own pairs, of 10 neighbours, and takes its own 450 iterations from principal
components, whatever number of epochs the others take. Its own log states the seconds of its optimiser.
"""

import sys

import numpy as np
from pacmap import PaCMAP

if __name__ == "__main__":
    rows, seed = np.load(sys.argv[1])["rows"], int(sys.argv[3])
    PaCMAP(random_state=seed).fit_transform(rows[:1000])  # compiles
    np.save(sys.argv[2], PaCMAP(random_state=seed, verbose=True).fit_transform(rows))
