import hashlib
import io
import json
import re
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from pytest_ecgfm.cli import main
from pytest_ecgfm.cohorts import download, load_cohort
from pytest_ecgfm.cohorts.fetch import announcement, fetch
from pytest_ecgfm.cohorts.layouts import LAYOUTS
from pytest_ecgfm.cohorts.sources import ELSEWHERE, SOURCES
from pytest_ecgfm.errors import EcgfmError

RECORDS = 4


class Server:
    """A local stand-in for PhysioNet and Zenodo, which can be told to misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.drop: dict[str, int] = {}  # path: how many more answers break off half-way
        self.spoil: dict[str, int] = {}  # path: how many more answers are corrupt
        self.status: dict[str, list[int]] = {}  # path: what to answer instead, in turn
        self.ignore_range = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        self.asked[path] += 1
        status = self.status[path].pop(0) if self.status.get(path) else 200
        if path not in self.files:
            status = 404
        if status != 200:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = self.files[path]
        if self.spoil.get(path, 0):
            self.spoil[path] -= 1
            data = bytes(byte ^ 1 for byte in data)
        start = 0
        asked = handler.headers.get("Range", "")
        if asked:
            self.ranges.append(path)
        if asked and not self.ignore_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        body = data[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.drop.get(path, 0):
            self.drop[path] -= 1
            body = body[: len(body) // 2]
            handler.close_connection = True
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.close()


@pytest.fixture
def ptb_xl(server, tmp_path, write_record, limb_leads) -> Path:
    """The layout of PTB-XL, served; returns the folder that it was made in."""
    root = tmp_path / "published"
    rows = ["ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr"]
    for number in range(1, RECORDS + 1):
        names = [f"records{rate}/00000/{number:05d}_{suffix}" for rate, suffix in ((100, "lr"), (500, "hr"))]
        for rate, name in zip((100, 500), names, strict=True):
            stored = limb_leads(number, 20_000 if name.endswith("2_hr") else 500)
            write_record((root / name).parent, Path(name).name, stored, rate=rate)
        rows.append(f"{number}.0,{number}.0,50,0,\"{{'NORM': 100.0}}\",{number},{names[0]},{names[1]}")
    (root / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    (root / "LICENSE.txt").write_text("CC BY 4.0\n")
    (root / "example_physionet.py").write_text("print('not wanted')\n")
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    publish(server, "ptb-xl/1.0.3", files)
    return root


def publish(server, release, files, extra=""):
    sums = "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in files.items()) + extra
    for name, data in {**files, "SHA256SUMS.txt": sums.encode()}.items():
        server.files[f"/files/{release}/{name}"] = data


def get(server, cohort, root, **options):
    return fetch(cohort, root, confirm=lambda text: True, base_url=server.url, **options)


def address(name):
    return f"/files/ptb-xl/1.0.3/{name}"


def test_the_whole_release_arrives_and_a_second_call_downloads_nothing(server, ptb_xl, tmp_path) -> None:
    done = get(server, "ptb-xl", tmp_path / "data")
    assert (done.downloaded, done.present) == (4 * RECORDS + 2, 0) and done.folder == tmp_path / "data/ptb-xl-1.0.3"
    cohort = load_cohort("ptb-xl", tmp_path / "data")
    expected = load_cohort("ptb-xl", ptb_xl)
    assert cohort.digest == expected.digest and len(cohort) == RECORDS and not cohort.caution
    assert not (done.folder / "example_physionet.py").exists() and not list(done.folder.rglob("*.part"))
    server.asked.clear()
    again = fetch("ptb-xl", tmp_path / "data", confirm=lambda text: pytest.fail("asked"), base_url=server.url)
    assert (again.downloaded, again.present) == (0, 4 * RECORDS + 2) and not server.asked


def test_broken_connections_are_resumed(server, ptb_xl, tmp_path) -> None:
    big = address("records500/00000/00002_hr.dat")
    server.drop = {big: 4, address("ptbxl_database.csv"): 1}
    done = get(server, "ptb-xl", tmp_path / "data")
    assert (done.folder / "records500/00000/00002_hr.dat").read_bytes() == server.files[big]
    assert server.asked[big] == 5 and server.ranges.count(big) == 4


def test_a_later_call_goes_on_where_an_earlier_one_ended(server, ptb_xl, tmp_path) -> None:
    big = address("records500/00000/00002_hr.dat")
    server.status = {big: [503] * 100}
    with pytest.raises(EcgfmError, match=r"00002_hr\.dat: not fetched in 5 attempts"):
        get(server, "ptb-xl", tmp_path / "data")
    part = tmp_path / "data/ptb-xl-1.0.3/records500/00000/00002_hr.dat.part"
    part.write_bytes(server.files[big][:1000])
    server.status = {}
    assert get(server, "ptb-xl", tmp_path / "data").downloaded == 1
    assert server.ranges == [big] and load_cohort("ptb-xl", tmp_path / "data").digest


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, ptb_xl, tmp_path) -> None:
    server.ignore_range = True
    big = address("records500/00000/00001_hr.dat")
    server.drop = {big: 2}
    done = get(server, "ptb-xl", tmp_path / "data")
    assert (done.folder / "records500/00000/00001_hr.dat").read_bytes() == server.files[big]


def test_a_corrupt_file_is_fetched_again(server, ptb_xl, tmp_path) -> None:
    bad = address("records100/00000/00003_lr.dat")
    server.spoil = {bad: 2}
    done = get(server, "ptb-xl", tmp_path / "data")
    assert server.asked[bad] == 3
    assert (done.folder / "records100/00000/00003_lr.dat").read_bytes() == server.files[bad]
    (done.folder / "records100/00000/00003_lr.dat").write_bytes(b"damaged since")
    assert get(server, "ptb-xl", tmp_path / "data").downloaded == 1


def test_a_file_that_stays_corrupt_is_named_and_does_not_pass(server, ptb_xl, tmp_path) -> None:
    name = "records100/00000/00003_lr.dat"
    server.spoil = {address(name): 10**6}
    with pytest.raises(EcgfmError, match=f"{name}: not fetched in 5 attempts .*published checksum.*/{name}.*is kept"):
        get(server, "ptb-xl", tmp_path / "data")
    assert not (tmp_path / "data/ptb-xl-1.0.3" / name).exists() and server.asked[address(name)] == download.ATTEMPTS


def test_missing_files_are_named_and_the_others_arrive(server, ptb_xl, tmp_path) -> None:
    for name in ("records100/00000/00001_lr.dat", "records100/00000/00002_lr.dat"):
        del server.files[address(name)]
    with pytest.raises(EcgfmError, match=r"0000\d_lr\.dat: not fetched \(HTTP status 404\).* 1 more files failed"):
        get(server, "ptb-xl", tmp_path / "data")
    assert len(list((tmp_path / "data").rglob("*_hr.dat"))) == RECORDS and server.asked.most_common(1)[0][1] == 1


def test_a_dead_server_ends_soon(server, ptb_xl, tmp_path) -> None:
    server.files = {address("SHA256SUMS.txt"): server.files[address("SHA256SUMS.txt")]}
    with pytest.raises(EcgfmError, match="more files failed"):
        get(server, "ptb-xl", tmp_path / "data", jobs=1)
    assert sum(server.asked.values()) <= 12


def test_part_of_a_release_can_be_read(server, ptb_xl, tmp_path) -> None:
    assert get(server, "ptb-xl", tmp_path / "data", records=2).downloaded == 4 * 2 + 2
    cohort = load_cohort("ptb-xl", tmp_path / "data")
    assert list(cohort.records) == ["1", "2"] and "the first 2 of 4 records" in cohort.caution
    assert get(server, "ptb-xl", tmp_path / "data", records=3).downloaded == 4
    assert len(load_cohort("ptb-xl", tmp_path / "data")) == 3
    assert get(server, "ptb-xl", tmp_path / "data").downloaded == 4
    assert len(load_cohort("ptb-xl", tmp_path / "data")) == 4


def test_one_source_of_the_challenge(server, tmp_path, write_record) -> None:
    root = tmp_path / "published"
    for source, name in (("georgia", "E00001"), ("georgia", "E00002"), ("ningbo", "JS20000")):
        write_record(root / f"training/{source}/g1", name, suffix=".mat", comments=["#Dx: 426783006"])
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    publish(server, "challenge-2021/1.0.3", files)
    assert get(server, "georgia", tmp_path / "data").downloaded == 4
    assert list(load_cohort("georgia", tmp_path / "data").records) == ["E00001", "E00002"]
    assert get(server, "chapman-ningbo", tmp_path / "data").downloaded == 2


def zenodo(server, record, files):
    entries = [
        {"key": name, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}"}
        for name, data in files.items()
    ]
    server.files[f"/api/records/{record}"] = json.dumps({"files": entries}).encode()
    for name, data in files.items():
        server.files[f"/api/records/{record}/files/{name}/content"] = data


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def part_of_code15(tmp_path, number, exams):
    path = tmp_path / f"exams_part{number}.hdf5"
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*exams, 0])
        file["tracings"] = np.ones((len(exams) + 1, 4096, 12), np.float32)
    return path.read_bytes()


def test_archives_of_zenodo_are_unpacked_inside_the_folder(server, tmp_path) -> None:
    head = "exam_id,age,is_male,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,normal_ecg,trace_file"
    rows = [f"{exam},50,True{',False' * 6},{exam},True,exams_part{exam // 10}.hdf5" for exam in (1, 2, 11)]
    archives = {
        f"exams_part{number}.zip": zipped(
            {
                f"exams_part{number}.hdf5": part_of_code15(tmp_path, number, exams),
                "../../escaped.hdf5": b"x",
                "/absolute.hdf5": b"x",
                "notes.txt": b"x",
            }
        )
        for number, exams in ((0, [1, 2]), (1, [11]))
    }
    zenodo(server, "4916206", {"exams.csv": "\n".join([head, *rows, ""]).encode(), **archives, "readme.md": b"x"})
    texts: list[str] = []
    done = fetch(
        "code-15",
        tmp_path / "data",
        records=1,
        confirm=lambda text: bool(texts.append(text)) or True,
        base_url=server.url,
    )
    assert done.downloaded == 2 and sorted(path.name for path in done.folder.iterdir()) == [
        "exams.csv", "exams_part0.hdf5", "records-fetched.txt", "unpacked.json", "zenodo-4916206.json",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("escaped*")) and "1 archives of about 20000 of 345779 records" in texts[0]
    assert list(load_cohort("code-15", tmp_path / "data").records) == ["1", "2"]
    server.asked.clear()
    assert get(server, "code-15", tmp_path / "data", records=1).downloaded == 0 and not server.asked
    assert get(server, "code-15", tmp_path / "data").downloaded == 1
    assert len(load_cohort("code-15", tmp_path / "data")) == 3
    (done.folder / "exams_part0.hdf5").unlink()
    assert get(server, "code-15", tmp_path / "data").downloaded == 1


def test_an_archive_without_the_files_is_an_error(server, tmp_path) -> None:
    zenodo(server, "3765780", {"data.zip": zipped({"other.txt": b"x"})})
    with pytest.raises(EcgfmError, match=r"data\.zip: it holds none of the files of code-test"):
        get(server, "code-test", tmp_path / "data")
    zenodo(server, "3765780", {"data.zip": b"PK but no archive"})
    (tmp_path / "data/code-test-3765780/zenodo-3765780.json").unlink()
    with pytest.raises(EcgfmError, match=r"data\.zip: cannot be unpacked"):
        get(server, "code-test", tmp_path / "data")


@pytest.mark.parametrize("name", ["../escaped.csv", "/etc/escaped.csv", "records500/../../../00001_hr.dat", "a\\b.csv"])
def test_no_name_of_an_index_leads_out(server, ptb_xl, tmp_path, name) -> None:
    files = {"ptbxl_database.csv": b"x", "records100/00000/00001_lr.dat": b"y"}
    publish(server, "ptb-xl/1.0.3", files, extra=f"{'0' * 64} {name}\n")
    assert get(server, "ptb-xl", tmp_path / "data").downloaded == 2
    assert not list(tmp_path.rglob("escaped*")) and not any("escaped" in path for path in server.asked)


def test_a_folder_that_is_a_link_is_not_written_through(server, ptb_xl, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "data/ptb-xl-1.0.3").mkdir(parents=True)
    (tmp_path / "data/ptb-xl-1.0.3/records500").symlink_to(outside)
    with pytest.raises(EcgfmError, match="leads out of the cohort's folder"):
        get(server, "ptb-xl", tmp_path / "data")
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("index", "message"),
    [(b"<html>Welcome</html>", "line 1 is not a checksum"), (b"", "names no record of ptb-xl"), (b"\xff", "no index")],
)
def test_an_index_that_is_none_is_not_kept(server, ptb_xl, tmp_path, index, message) -> None:
    server.files[address("SHA256SUMS.txt")] = index
    with pytest.raises(EcgfmError, match=f"{message}.*It came from http"):
        get(server, "ptb-xl", tmp_path / "data")
    assert not (tmp_path / "data/ptb-xl-1.0.3/SHA256SUMS.txt").exists()


def test_command_asks_first(server, ptb_xl, tmp_path, capsys, monkeypatch) -> None:
    arguments = ["fetch", "ptb-xl", str(tmp_path / "data"), "--base-url", server.url, "--records", "1"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(arguments) == 2 and not server.asked
    err = capsys.readouterr().err
    assert "the first 1 of 21799 records, about 144 kB" in err and "licence CC BY 4.0" in err and "give --yes" in err
    terminal = io.StringIO("no\ny\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert main(arguments) == 2 and not server.asked and "was not fetched" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "6 files downloaded, 0 were already there; all were checked" in capsys.readouterr().out
    assert main([*arguments, "--yes"]) == 0 and "0 files downloaded, 6 were already there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heedb"], "heedb cannot be fetched: .* needs credentials"),
        (["sph"], "figshare"),
        (["ptbxl"], "Did you mean 'ptb-xl'"),
        (["ptb-xl", "--records", "0"], "--records 0: it should be 1 or more"),
        (["ptb-xl", "--jobs", "0"], "--jobs 0"),
    ],
)
def test_what_cannot_be_fetched_says_why(tmp_path, capsys, arguments, message) -> None:
    assert (
        main(["fetch", arguments[0], str(tmp_path), *arguments[1:], "--yes", "--base-url", "http://127.0.0.1:1"]) == 2
    )
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_every_source_says_what_it_is() -> None:
    for name, source in SOURCES.items():
        text = announcement(source, Path("data"), None, source.records * source.record_bytes, exact=False)
        assert (name in text and source.licence in text and source.citation in text and "GB" in text) or "MB" in text
        assert source.publisher in ("physionet", "zenodo") and name not in ELSEWHERE


def test_every_cohort_is_described() -> None:
    text = (Path(__file__).parents[2] / "docs/cohorts.md").read_text(encoding="utf-8")
    for name in {*SOURCES, *(name for layout in LAYOUTS for name in layout.names)}:
        assert f"`{name}`" in text, name
    for name, source in SOURCES.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` | {source.publisher.title()[:3]}"))
        assert f"{source.records:,}" in row and source.licence.partition(" (")[0] in row and source.release in row
