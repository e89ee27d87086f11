"""Stability, relevance and separability of encoders that are broken on purpose, and of one that is not."""

import json

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.signals.coalitions import INDEPENDENT

pytestmark = pytest.mark.slow

ENCODERS = '''
import numpy as np
from pytest_ecgfm import ecg_model
from pytest_ecgfm.encoders.beats import find_beats, heart_rate


def spread(x):
    x = np.asarray(x, np.float64)
    halves = np.split(np.sort(x, axis=-1)[..., :: x.shape[-1] // 50], 2, axis=-1)
    return np.concatenate([x.std(-1), *(half.mean(-1) for half in halves)], axis=1).astype(np.float32)


@ecg_model(sampling_rate=250, seconds=5, leads="I II V1 V2 V3 V4 V5 V6", pretrained_on=[], version="1")
def one_lead():
    """Reads eight leads, it says; it reads V3."""
    return lambda x: spread(np.asarray(x)[:, [4]])


@ecg_model(sampling_rate=250, seconds=5, leads="II V1", pretrained_on=[], version="1")
def hears_mains():
    """Hardly anything but the hum of the mains."""
    def embed(x):
        hum = np.abs(np.fft.rfft(np.asarray(x, np.float64)))[..., 250]
        return np.concatenate([spread(x), 5 * hum], axis=1).astype(np.float32)
    return embed


@ecg_model(sampling_rate=250, seconds=5, leads="II V1", pretrained_on=[], version="1")
def collapsed():
    """The same for every record."""
    return lambda x: np.ones((len(x), 8), np.float32)


class Coded:
    """Heart rate, and where the record comes from: its sampling rate says so."""

    def embed(self, batch):
        rates = [heart_rate(find_beats(one, batch.sampling_rate), batch.sampling_rate) for one in batch.signals]
        rate = np.log(np.array(rates))[:, None] * np.ones(2)
        home = np.full((len(batch), 6), 9.0 if batch.sampling_rate > 450 else -9.0)
        noise = np.sin(1e4 * rate[:, :1] * np.arange(1, 7))
        return np.concatenate([rate, home + noise], axis=1).astype(np.float32)


@ecg_model(leads="II", input="records", preprocessing="model", pretrained_on=[], version="1")
def coded():
    """Tells cohorts apart, and rates."""
    return Coded()
'''


def outcomes(folder, encoder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    out = {}
    for row in rows:
        if row["encoder"] == encoder:
            out.setdefault(row["check"].partition("[")[0], {})[row["check"]] = row["outcome"]
    return out


@pytest.fixture
def broken(user):
    user.makeconftest(ENCODERS)
    return user


def test_a_collapsed_and_a_noise_sensitive_encoder_fail_stability(broken, run_folder):
    result = broken.runpytest_subprocess(
        "--ecgfm=collapsed,hears_mains",
        "--ecgfm-suites=stability",
        "--ecgfm-cohorts=synthetic-europe",
        "--ecgfm-limit=150",
        "--ecgfm-labels=STach",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    collapsed = outcomes(run_folder(), "collapsed")
    assert set(collapsed["stability.effective_rank"].values()) == {"fail"}
    assert set(collapsed["stability.retrieval"].values()) == {"fail"}
    assert "pass" not in collapsed["stability.displacement"].values()
    hears = outcomes(run_folder(), "hears_mains")["stability.displacement"]
    assert hears["stability.displacement[synthetic-europe,mains_50hz@0.02mV]"] == "fail"
    assert hears["stability.displacement[synthetic-europe,mains_60hz@0.02mV]"] == "pass"
    assert hears["stability.displacement[synthetic-europe,gain@0.9]"] == "pass"
    tree = xr.open_datatree(run_folder() / "cube.nc", engine="h5netcdf")
    curve = tree["stability"]["displacement"].sel(encoder="hears_mains", perturbation="mains_50hz").squeeze()
    moved = curve.dropna("severity").values
    assert moved.size == 3 and (np.diff(moved) > 0).all()


def test_a_shortcut_by_one_lead_fails_relevance_and_planted_leads_are_found(broken, run_folder):
    result = broken.runpytest_subprocess(
        "--ecgfm=one_lead,handcrafted",
        "--ecgfm-suites=relevance",
        "--ecgfm-cohorts=synthetic-europe",
        "--ecgfm-limit=400",
        "--ecgfm-labels=AF",
        "--ecgfm-fractions=0.5,1",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    shortcut = outcomes(run_folder(), "one_lead")
    assert set(shortcut["relevance.concentration"].values()) == {"fail"}
    assert set(shortcut["relevance.efficiency"].values()) == {"pass"}
    honest = outcomes(run_folder(), "handcrafted")
    assert set(honest["relevance.concentration"].values()) == {"pass"}
    assert set(honest["relevance.shuffled_labels"].values()) == {"pass"}
    tree = xr.open_datatree(run_folder() / "cube.nc", engine="h5netcdf")
    profiles = tree["relevance"]["relevance"].sel(cohort="synthetic-europe", label="AF", baseline="zero", fraction=1.0)
    assert float(profiles.sel(encoder="one_lead", lead="V3")) > 0.99
    # The generator says which leads carry fibrillation.
    cohort = load_cohort("synthetic-europe")
    positive = cohort.records[cohort.labels["AF"].fillna(0).to_numpy(dtype=bool)][:20]
    shares = [evidence["AF"].leads for evidence in (cohort.truth(one).labels for one in positive) if "AF" in evidence]
    planted = {lead: np.mean([share.get(lead, 0.0) for share in shares]) for lead in INDEPENDENT}
    strongest = sorted(planted, key=planted.get)[-2:]
    found = profiles.sel(encoder="handcrafted")
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.sel(lead=strongest).sum()) > 1.2 * 2 / len(INDEPENDENT)
    assert float(tree["relevance"]["efficiency_error"].max()) < 1e-4


def test_an_encoder_that_codes_the_cohort_passes_label_checks_and_fails_cohort_checks(broken, run_folder):
    result = broken.runpytest_subprocess(
        "--ecgfm=coded",
        "--ecgfm-suites=separability",
        "--ecgfm-cohorts=synthetic-europe,synthetic-south-america",
        "--ecgfm-limit=300",
        "--ecgfm-labels=STach",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = outcomes(run_folder(), "coded")
    labels = {name: one for name, one in found["separability.neighbours"].items() if name.endswith("embedding]")}
    assert len(labels) == 2 and set(labels.values()) == {"pass"}
    assert set(found["separability.robustness"].values()) == {"fail"}
    assert set(found["separability.cohort_auroc"].values()) == {"fail"}
    tree = xr.open_datatree(run_folder() / "cube.nc", engine="h5netcdf")
    map_of = tree["map"]["coded"].to_dataset()
    assert map_of.sizes["record"] == 600 and np.isfinite(map_of["umap"].values).all()
    assert set(map_of["cohort"].values.tolist()) == {"synthetic-europe", "synthetic-south-america"}
