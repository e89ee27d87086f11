"""Compare our cluster metrics with the same ones called one by one with scikit-learn.

4 cohorts x 4 labels of planted clusters, every grouping of the separability suite (labels within cohorts, pairs of
cohorts, pairs of cohorts among the positives of a label), the paper's metrics and their null distributions::

    python benchmarks/separability.py --records 4000
    python benchmarks/separability.py --records 100000 --memory

Ours is timed whole. The peer scales, and calls each function of scikit-learn, once a grouping and permutation; it is
timed for some groupings of each kind, without permutations, and the time of a kind is multiplied by its number of
groupings (and permutations): called in full it would take hours. Values are compared where the peer was called.
Times are the processor's, of all threads, so that other work on the machine does not count.
Clustering algorithms see the same 1,000 records at most on both sides, as in the suite.
"""

import argparse
import json
import resource
import time
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np

from pytest_ecgfm.evaluations.clusters import METRICS, NEIGHBOURS, SEED, Space, many_metrics
from pytest_ecgfm.evaluations.separability import PERMUTATIONS, adjusted_metrics

CLUSTERED = 1000


def planted(records, dimensions, seed=0):
    """Return embeddings, cohorts and labels (records, 4): each label and cohort moves its records by a little."""
    rng = np.random.default_rng(seed)
    cohorts = np.repeat(np.arange(4), records // 4)
    labels = rng.random((len(cohorts), 4)) < 0.15
    rows = rng.standard_normal((len(cohorts), dimensions), dtype=np.float32)
    rows[:, :4] += 2 * labels
    rows[:, 4:8] += 2 * (cohorts[:, None] == np.arange(4))
    return rows, cohorts, labels


def tasks(cohorts, labels):
    """Return (kind, rows, groupings) for each set of records; groupings of the same records are together."""
    out = []
    for one in range(4):
        rows = np.flatnonzero(cohorts == one)
        out.append(("label in cohort", rows, [labels[rows, number] for number in range(4)]))
    for a, b in combinations(range(4), 2):
        rows = np.flatnonzero((cohorts == a) | (cohorts == b))
        out.append(("pair of cohorts", rows, [cohorts[rows]]))
        for number in range(4):
            mine = rows[labels[rows, number]]
            out.append(("pair of cohorts in label", mine, [cohorts[mine]]))
    return out


def plain(rows, groups):
    """Call scikit-learn for each metric of one grouping."""
    from sklearn.cluster import SpectralClustering
    from sklearn.metrics import (
        adjusted_mutual_info_score,
        adjusted_rand_score,
        calinski_harabasz_score,
        davies_bouldin_score,
        silhouette_score,
    )
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    z, y = StandardScaler().fit_transform(rows.astype(np.float64)), np.unique(groups, return_inverse=True)[1]
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(z).kneighbors(return_distance=False)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(z))[:CLUSTERED])
    spectral = SpectralClustering(2, affinity="nearest_neighbors", n_neighbors=NEIGHBOURS, random_state=SEED)
    mixture = GaussianMixture(2, covariance_type="full", n_init=10, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {"spectral": spectral.fit_predict(z[chosen]), "gmm": mixture.fit_predict(z[chosen])}
    centres = [z[y == one].mean(axis=0) for one in (0, 1)]
    distance = float(np.linalg.norm(centres[0] - centres[1]))
    dispersion = float(np.mean([np.linalg.norm(z[y == one] - centres[one], axis=1).mean() for one in (0, 1)]))
    return {
        "silhouette": silhouette_score(z, y),
        "davies_bouldin": davies_bouldin_score(z, y),
        "calinski_harabasz": calinski_harabasz_score(z, y),
        "knn_agreement": float((y[near] == y[:, None]).mean()),
        **{f"{name}_ari": adjusted_rand_score(y[chosen], part) for name, part in parts.items()},
        **{f"{name}_ami": adjusted_mutual_info_score(y[chosen], part) for name, part in parts.items()},
        "centroid_distance": distance,
        "intra_class_dispersion": dispersion,
        "centroid_separation": distance / dispersion,
    }


def memory(rows, cohorts, labels):
    """Compute one cohort-wide grouping of all records, and print the peak memory of this process."""
    begin = time.process_time()
    space = Space(rows, most=CLUSTERED)
    many_metrics(space, [labels[:, number] for number in range(4)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(rows)} x {rows.shape[1]}, 4 groupings of all records: peak {peak:.2f} GB")
    return {"records": len(rows), "peak_gb": peak, "seconds": time.process_time() - begin}


def compared(rows, cohorts, labels, calls):
    """Time both ways, and return ratios and the largest differences."""
    asked = tasks(cohorts, labels)
    groupings = sum(len(groups) for _, _, groups in asked)
    begin = time.process_time()
    values = [many_metrics(Space(rows[mine], most=CLUSTERED), groups) for _, mine, groups in asked]
    metrics = time.process_time() - begin
    begin = time.process_time()
    for _, mine, groups in asked:
        space = Space(rows[mine], most=CLUSTERED)
        for one in groups:
            adjusted_metrics(space, one, np.arange(len(mine)))
    whole = time.process_time() - begin
    peer = peer_null = 0.0
    worst = {"deterministic": 0.0, "clustering": 0.0}
    for kind in dict.fromkeys(kind for kind, _, _ in asked):
        mine = [(number, rows_of) for number, (name, rows_of, _) in enumerate(asked) if name == kind]
        count = sum(len(asked[number][2]) for number, _ in mine)
        taken = []
        for number, rows_of in mine[:calls]:
            begin = time.process_time()
            found = plain(rows[rows_of], asked[number][2][0])
            taken.append(time.process_time() - begin)
            for name in METRICS:
                ours, theirs = values[number][0][name], found[name]
                if name.endswith(("_ari", "_ami")):
                    worst["clustering"] = max(worst["clustering"], abs(ours - theirs))
                else:
                    worst["deterministic"] = max(worst["deterministic"], abs(ours - theirs) / max(abs(theirs), 1e-12))
        peer += count * float(np.mean(taken))
        peer_null += count * (1 + PERMUTATIONS) * float(np.mean(taken))
    print(f"{len(rows)} x {rows.shape[1]}, {groupings} groupings, {calls} of each kind called with scikit-learn")
    print(f"metrics alone: {peer / metrics:.1f} times as fast; with {PERMUTATIONS} permutations each:", end=" ")
    print(f"{peer_null / whole:.1f} times as fast")
    print(f"largest relative difference {worst['deterministic']:.1e}; of ARI and AMI {worst['clustering']:.1e}")
    return {"records": len(rows), "metrics_ratio": peer / metrics, "null_ratio": peer_null / whole, **worst}


def main():
    """Print what was found; write the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    data = planted(asked.records, asked.dimensions)
    found = memory(*data) if asked.memory else compared(*data, asked.calls)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
