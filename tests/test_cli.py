import csv
import io
import json
import struct

import numpy as np
import pytest
import torch

from pytest_ecgfm.cli import COMMANDS, main
from pytest_ecgfm.encoders.checkpoints import read_checkpoint

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CODES = {"SB": 426177001, "STach": 427084000, "NORM": 426783006}


def beats(rate, seconds=10, fs=500):
    """Twelve leads (samples, leads) in uV that obey the limb leads' relations, at `rate` beats a minute."""
    time = np.arange(seconds * fs) / fs
    phase = (time * rate / 60) % 1
    qrs = 1000 * np.exp(-(((phase - 0.4) * 60 / rate) ** 2) / (2 * 0.012**2))
    one, two = 0.7 * qrs, qrs
    return np.rint(
        np.column_stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *[qrs] * 6])
    ).astype(np.int16)


def write(folder, name, stored, code, leads=LEADS):
    folder.mkdir(parents=True, exist_ok=True)
    samples, count = stored.shape
    head = struct.pack("<5i", 30, count, samples, 0, 4) + b"val\0"
    (folder / f"{name}.mat").write_bytes(head + stored.astype("<i2").tobytes())
    lines = [f"{name} {count} 500 {samples}"]
    lines += [f"{name}.mat 16+24 1000(0)/mV 16 0 0 0 0 {lead}" for lead in leads]
    (folder / f"{name}.hea").write_text("\n".join([*lines, "#Age: 60", "#Sex: Male", f"#Dx: {code}"]) + "\n")


@pytest.fixture
def georgia(tmp_path):
    folder = tmp_path / "data/training/georgia/g1"
    write(folder, "E1", beats(48), CODES["SB"])
    write(folder, "E2", beats(120), CODES["STach"])
    odd = beats(75)
    odd[:, 2] = -odd[:, 2]
    odd[:, 7] = 0
    odd[0, 8] = -32768
    write(folder, "E3", odd, CODES["NORM"])
    return tmp_path / "data"


def test_report_of_a_folder(georgia, capsys):
    assert main(["cohorts", str(georgia)]) == 0
    out, err = capsys.readouterr()
    assert f"georgia (North America), layout challenge-2021: {georgia}/training/georgia" in out
    assert "3 records, no patient identifiers, no published folds, 500 Hz, 10 s" in out
    assert "  SB              1        2        0\n" in out
    assert "records with flat leads: 1, NaN: 1, " in out and ", missing leads: 0\n" in out
    assert "limb-lead residual above 0.1: 1 records: E3" in out
    assert "SB 48 (1 records), STach 120 (1 records)" in out and "others" not in out.split("heart rate")[1]
    assert "derived: sinus rhythm" in out and not err


def test_a_wrong_unit_shows_in_the_amplitude(georgia, capsys):
    assert main(["cohorts", str(georgia)]) == 0
    assert "  peak to peak in mV, median over leads and records: 1\n" in capsys.readouterr().out
    for header in (georgia / "training/georgia/g1").glob("*.hea"):
        header.write_text(header.read_text().replace("/mV", "/V"))
    assert main(["cohorts", str(georgia)]) == 0
    said = "peak to peak in mV, median over leads and records: 1e+03 (unusual for an ECG: check gain and unit"
    assert said in capsys.readouterr().out


def test_json_holds_the_same_figures(georgia, capsys):
    assert main(["cohorts", str(georgia), "--json"]) == 0
    (about,) = json.loads(capsys.readouterr().out)
    assert (about["cohort"], about["layout"], about["records"], about["patients"]) == (
        "georgia", "challenge-2021", 3, None,
    )  # fmt: skip
    assert about["labels"]["STach"] == {"true": 1, "false": 2, "unknown": 0}
    assert about["quality"]["NaN"] == 1 and about["limb_leads"]["above"] == ["E3"] and len(about["digest"]) == 64
    assert about["heart_rate"]["others"] == {"records": 0, "median": None}
    assert about["peak_to_peak"] == pytest.approx(1, abs=0.01)


def test_one_line_a_record(georgia, capsys):
    assert main(["cohorts", str(georgia), "--records"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["record"] for row in rows] == ["E1", "E2", "E3"] and {row["cohort"] for row in rows} == {"georgia"}
    assert rows[0]["SB"] == "True" and rows[2]["flat_leads"] == "V2" and rows[2]["nan_samples"] == "1"
    assert float(rows[0]["heart_rate"]) == pytest.approx(48, abs=1) and rows[2]["heart_rate"] == ""


def test_an_unreadable_record_is_named_and_the_rest_is_told(georgia, capsys):
    file = georgia / "training/georgia/g1/E2.mat"
    file.write_bytes(file.read_bytes()[:-1])
    assert main(["cohorts", str(georgia), "--json"]) == 0
    (about,) = json.loads(capsys.readouterr().out)
    assert "E2.mat: record 'E2'" in about["unreadable"]["E2"] and about["digest"] is None
    assert about["heart_rate"]["SB"]["records"] == 1
    assert main(["cohorts", str(georgia)]) == 0
    assert "cannot be read: 1 records: " in capsys.readouterr().out


def test_a_record_too_short_for_beats_has_no_heart_rate(georgia, capsys):
    write(georgia / "training/georgia/g1", "E4", beats(60)[:1], CODES["SB"])
    assert main(["cohorts", str(georgia), "--json"]) == 0
    (about,) = json.loads(capsys.readouterr().out)
    assert about["heart_rate"]["SB"]["records"] == 1 and about["seconds"]["least"] == 0.002 and not about["unreadable"]


def test_quick_reads_no_signals(georgia, capsys):
    for file in georgia.rglob("*.mat"):
        file.write_bytes(b"")
    assert main(["cohorts", str(georgia), "--quick"]) == 0
    out = capsys.readouterr().out
    assert "3 records" in out and "flat leads" not in out and "digest" not in out
    assert main(["cohorts", str(georgia), "--quick", "--records"]) == 0
    assert capsys.readouterr().out.startswith("cohort,record,patient,age,sex,fold,CD,AF,SB,")


def test_a_copy_in_another_layout_is_told(georgia, capsys):
    write(georgia / "a/training/chapman_shaoxing/g1", "JS00001", beats(60), CODES["SB"])
    write(georgia / "b/WFDBRecords/01/010", "JS00001", beats(60), CODES["SB"])
    assert main(["cohorts", str(georgia), "--quick", "--cohort", "chapman-ningbo"]) == 0
    out = capsys.readouterr().out
    assert "also here, not used: layout " in out and "georgia" not in out.replace(str(georgia), "")


def test_embedded_cohorts_need_no_folder(capsys):
    assert main(["cohorts", "--quick", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert len(about) == 4 and {each["layout"] for each in about} == {"embedded"}


def test_one_bad_cohort_does_not_hide_the_others(georgia, capsys):
    write(georgia / "training/ptb/g1", "S1", beats(60), "nonsense")
    assert main(["cohorts", str(georgia), "--quick"]) == 2
    out, err = capsys.readouterr()
    assert "georgia" in out and err.count("\n") == 1 and "S1.hea: record 'S1': Dx 'nonsense'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cohorts", "no/such/folder"], "no such folder"),
        (["cohorts", "{empty}"], "no cohort found"),
        (["cohorts", "{data}", "--cohort", "gorgia"], "Did you mean 'georgia'?"),
    ],
)
def test_bad_input_is_one_line_and_status_2(georgia, tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"data": georgia, "empty": tmp_path / "empty"}
    assert main([argument.format(**names) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("ecgfm: ") and err.count("\n") == 1 and message in err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command.name in out for command in COMMANDS)
    with pytest.raises(SystemExit, match="2"):
        main(["no-such-command"])


def test_convert_needs_trust(tmp_path, capsys):
    source, target = tmp_path / "w.pth", tmp_path / "w.safetensors"
    torch.save({"state_dict": {"layer.weight": torch.ones(2, 3)}}, source)
    assert main(["convert", str(source), str(target)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert not target.exists()
    assert main(["convert", str(source), str(target), "--trust"]) == 0
    assert read_checkpoint(target)["layer.weight"].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("shape", [[], ["--json"], ["--records"]])
def test_cohorts_of_fixtures_are_said_to_be_elsewhere(georgia, tmp_path, capsys, monkeypatch, shape):
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    assert main(["cohorts", str(georgia), "--quick", *shape]) == 0
    assert capsys.readouterr().err == ""
    (here / "conftest.py").write_text("@ecg_cohort\nraise RuntimeError('this is not run')")
    assert main(["cohorts", str(georgia), "--quick", *shape]) == 0
    captured = capsys.readouterr()
    assert "cohorts of @ecg_cohort fixtures are not shown here; pytest --ecgfm-list names them" in captured.err
    assert "@ecg_cohort" not in captured.out
