"""What leaves the hospital names no patient; under pseudonyms nothing that a run writes or prints does."""

import csv
import re

import numpy as np
import pytest

pytestmark = pytest.mark.slow

OPTIONS = (
    "--ecgfm=spread",
    "--ecgfm-data=hospital",
    "--ecgfm-profile=smoke",
    "--ecgfm-labels=STach",
    "--ecgfm-out=run",
)


@pytest.fixture
def hospital(user, monkeypatch):
    """A folder of records, of which one is damaged; whose they are is in names of records, patients and folders."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(user.path / "summary.md"))
    rng = np.random.default_rng(0)
    rows = [["record", "patient", "STach"]]
    for number in range(120):
        fast, record = number % 3 == 0, f"Whose{number}"
        beats = np.convolve(np.arange(500) % (25 if fast else 40) == 0, np.hanning(6), "same")
        signals = 800 * beats[:, None] * [1, -0.8] + rng.normal(0, 20, (500, 2))
        folder = user.path / "hospital" / f"Folder{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        data = signals.astype("<i2").tobytes()
        (folder / f"{record}.dat").write_bytes(data[: 10 if number == 5 else None])
        leads = [f"{record}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in ("II", "V1")]
        (folder / f"{record}.hea").write_text("\n".join([f"{record} 2 50 500", *leads, ""]))
        rows.append([f"Folder{number % 7}/{record}", f"Person{number}", int(fast)])
    with (user.path / "hospital" / "labels.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    user.makeconftest(
        """
        import numpy as np
        from pytest_ecgfm import ecg_model

        @ecg_model(sampling_rate=50, seconds=10, leads="II V1", pretrained_on=[])
        def spread():
            def embed(x):
                x = np.asarray(x)
                return np.concatenate([x.std(-1), np.ptp(x, -1), np.abs(np.diff(x)).mean(-1)], axis=1)

            return embed
        """
    )
    return user


def written(run):
    """What each file of a run holds, the cube's texts as texts."""
    import xarray as xr

    held = {path.name: path.read_bytes().decode(errors="replace") for path in run.rglob("*") if path.is_file()}
    cube = xr.open_datatree(run / "cube.nc", engine="h5netcdf")
    texts = [array.values.tolist() for group in cube.groups for array in cube[group].to_dataset().variables.values()]
    return held | {"cube.nc": repr([texts, cube.attrs])}


def test_the_page_and_the_job_summary_name_no_patient(hospital):
    result = hospital.runpytest_subprocess(*OPTIONS, "--ecgfm-skip-bad-records")
    held = written(hospital.path / "run")
    assert "Person1" in held["cube.nc"] and "Whose5" in result.stdout.str()
    for text in (held["generalization.html"], held["report.html"], (hospital.path / "summary.md").read_text()):
        assert len(text) > 200 and "Person" not in text


@pytest.mark.parametrize("bad", [(), ("--ecgfm-skip-bad-records",)])
def test_under_pseudonyms_nothing_names_a_record_or_a_patient(hospital, bad):
    result = hospital.runpytest_subprocess(*OPTIONS, "--ecgfm-pseudonyms", *bad)
    held = written(hospital.path / "run")
    held |= {"summary.md": (hospital.path / "summary.md").read_text(), "printed": result.stdout.str()}
    for name, text in held.items():
        assert not re.search("Whose|Person|Folder", text), name
    assert "record-" in held["printed"] and ("patient-" in held["cube.nc"] or not bad)
