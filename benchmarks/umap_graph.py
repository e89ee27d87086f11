"""Measure what the graph of neighbours under the map costs: exact by scikit-learn, or approximate by UMAP's own search.

::

    python benchmarks/umap_graph.py --records 4000

Prints CPU seconds and the share of true neighbours found. Each way runs in a process of its own, since numba compiles
the approximate search anew in each.
"""

import argparse
import subprocess
import sys
import time

import numpy as np

COUNT = 15


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description="Measure the graph of neighbours under the map.")
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--dimensions", type=int, default=50)
    parser.add_argument("--way", choices=("exact", "approximate"), help="measure this one here")
    given = parser.parse_args()
    if given.way is None:
        for way in ("exact", "approximate"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], f"--way={way}"], check=True)
        return
    from sklearn.neighbors import NearestNeighbors
    from umap.umap_ import nearest_neighbors

    rows = np.random.default_rng(0).normal(size=(given.records, given.dimensions)).astype(np.float32)
    begin = time.process_time()
    true = NearestNeighbors(n_neighbors=COUNT).fit(rows).kneighbors(rows, return_distance=False)
    if given.way == "approximate":
        begin = time.process_time()
        found = nearest_neighbors(rows, COUNT, "euclidean", {}, False, np.random.RandomState(0))[0]
    else:
        found = true
    seconds = time.process_time() - begin
    share = np.mean([len(np.intersect1d(a, b)) / COUNT for a, b in zip(true, found, strict=True)])
    print(
        f"{given.records} x {given.dimensions}, {given.way}: {seconds:.2f} CPU seconds, {share:.4f} of the neighbours"
    )


if __name__ == "__main__":
    main()
