"""Where weights come from: paths, and a Hub that is served on this machine."""

import builtins
import hashlib
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_ecgfm.cards import ModelCard, parse_card
from pytest_ecgfm.encoders import sources
from pytest_ecgfm.encoders.registry import builtin_models
from pytest_ecgfm.encoders.sources import fetch, parse_checkpoints, resolve_checkpoint
from pytest_ecgfm.errors import EcgfmError

CARD = ModelCard(name="my_fm", checkpoint="best.ckpt", source="hf://lab/fm", licence="CC BY 4.0")
COMMIT = "c0ffee" * 6 + "beef"
FILES = {"/lab/fm/resolve/main/best.ckpt": b"newest", "/lab/fm/resolve/v1/deep/best.ckpt": b"first"}
REFUSALS = {"/lab/gated/": (403, "GatedRepo"), "/lab/none/": (401, "RepoNotFound"), "/lab/broken/": (500, None)}
OUT_OF_REACH = "not in the Hub's cache, and the Hub cannot be reached (or is switched off)."


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.respond(with_body=False)

    def do_GET(self):
        self.respond(with_body=True)

    def respond(self, with_body):
        body = FILES.get(self.path)
        code, reason = (200, None) if body is not None else (404, "EntryNotFound")
        if body is None and "/resolve/v9/" in self.path:
            reason = "RevisionNotFound"
        for start, refusal in REFUSALS.items():
            if self.path.startswith(start):
                code, reason = refusal
        self.send_response(code)
        if reason:
            self.send_header("X-Error-Code", reason)
        if body is not None:
            self.send_header("X-Repo-Commit", COMMIT if "/main/" in self.path else COMMIT[::-1])
            self.send_header("ETag", f'"{body.hex()}"')
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if with_body and body is not None:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


CODE = """
import sys
from pytest_ecgfm.encoders.sources import fetch
from pytest_ecgfm.errors import EcgfmError
for address in sys.argv[1:]:
    try:
        print(fetch(address).read_bytes().decode())
    except EcgfmError as error:
        print(error)
"""


def fetched(endpoint, home, *addresses, **environment):
    """Fetch in a process of its own: the Hub's client reads its environment when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    known = {"PATH": "", "HOME": str(home), "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"}
    found = subprocess.run(
        [sys.executable, "-c", CODE, *addresses],
        env=known | settings | environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return found.stdout.splitlines()


def test_files_revisions_and_refusals(hub, tmp_path):
    expected = {
        "hf://lab/fm/best.ckpt": "newest",
        "hf://lab/fm@v1/deep/best.ckpt": "first",
        "hf://lab/fm/worst.ckpt": "the repository has no such file.",
        "hf://lab/fm@v9/best.ckpt": "the repository has no such revision.",
        "hf://lab/gated/best.ckpt": "its owner asks for consent: accept the terms on its page, then set HF_TOKEN.",
        "hf://lab/none/best.ckpt": "no such repository, or it is private (then set HF_TOKEN).",
    }
    said = fetched(hub, tmp_path, *expected)
    assert said == [text if len(text) < 8 else f"{address}: {text}" for address, text in expected.items()]


def test_what_was_fetched_is_there_offline(hub, tmp_path):
    addresses = ["hf://lab/fm/best.ckpt", "hf://lab/fm@v1/deep/best.ckpt"]
    assert fetched(hub, tmp_path, addresses[0]) == ["newest"]
    offline = fetched(hub, tmp_path, *addresses, HF_HUB_OFFLINE="1")
    assert offline[0] == "newest"
    assert offline[1:] == [
        f"{addresses[1]}: not in the Hub's cache, and the Hub cannot be reached (or is switched off)."
    ]


@pytest.mark.slow
def test_no_network(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (said,) = fetched(f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path, "hf://lab/fm/best.ckpt")
    assert said == f"hf://lab/fm/best.ckpt: {OUT_OF_REACH}"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "lab",
        "lab/fm",
        "lab/fm@v1",
        "lab/fm/",
        "/fm/x",
        "lab/fm@/x",
        "lab/fm/../x",
        "lab/fm/a/../../../x",
        "lab@v1/fm/x",
    ],
)
def test_malformed_addresses(address):
    with pytest.raises(EcgfmError, match="should be hf://owner/repo"):
        fetch(f"hf://{address}")


def test_names_that_the_hub_does_not_allow(tmp_path, hub):
    (said,) = fetched(hub, tmp_path, "hf://la b/fm/best.ckpt")
    assert "cannot be fetched (HFValidationError" in said


def test_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EcgfmError, match=r"pip install 'pytest-ecgfm\[models\]'"):
        fetch("hf://lab/fm/best.ckpt")


def test_paths(tmp_path, monkeypatch):
    (tmp_path / "best.ckpt").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for text, path in ((str(tmp_path), tmp_path), ("~/best.ckpt", tmp_path / "best.ckpt")):
        assert resolve_checkpoint(CARD, {"my_fm": text, "other": "none"}) == path
    with pytest.raises(EcgfmError, match=r"--ecgfm-checkpoint=my_fm=none\.ckpt: no such file or folder"):
        resolve_checkpoint(CARD, {"my_fm": "none.ckpt"})
    with pytest.raises(EcgfmError, match="should be a path or hf://"):
        resolve_checkpoint(CARD, {"my_fm": "https://example.org/best.ckpt"})


def test_addresses_are_fetched():
    asked = []

    def download(address):
        asked.append(address)
        return Path("cache")

    assert resolve_checkpoint(CARD, {"my_fm": "hf://lab/fm@v1/best.ckpt"}, download=download) == Path("cache")
    assert asked == ["hf://lab/fm@v1/best.ckpt"]


def test_nothing_given_says_what_is_needed():
    what = "model 'my_fm' needs its weights: best.ckpt from hf://lab/fm (CC BY 4.0)."
    with pytest.raises(EcgfmError) as error:
        resolve_checkpoint(CARD, {"other": "x"})
    assert str(error.value) == f"{what} Give --ecgfm-checkpoint=my_fm=PATH."
    with pytest.raises(EcgfmError, match=r"weights: a checkpoint\. Give"):
        resolve_checkpoint(ModelCard(name="plain"), {})


def test_parsing():
    assert parse_checkpoints([]) == {}
    given = parse_checkpoints(["a=x.pt", "b.c = hf://lab/fm@v1/x=1.pt"])
    assert given == {"a": "x.pt", "b.c": "hf://lab/fm@v1/x=1.pt"}
    for text in ("a", "=x", "a=", ""):
        with pytest.raises(EcgfmError, match="should be NAME=PATH"):
            parse_checkpoints([text])
    with pytest.raises(EcgfmError, match="'a' is given twice, as x and as y"):
        parse_checkpoints(["a=x", "b=z", "a=y"])


# Weights that a package brings


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that cannot be imported without harm, and holds a file; its address by digest."""
    folder = tmp_path / "ecgpackage"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (folder / "models" / "best.pt").write_bytes(b"weights")
    (tmp_path / "ecgpackage-2.7.dist-info").mkdir()
    (tmp_path / "ecgpackage-2.7.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ecgpackage\nVersion: 2.7\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(b"weights").hexdigest()
    return lambda file="models/best.pt", digest=digest: f"package://ecgpackage/{file}#sha256={digest}"


def card_of(source):
    return ModelCard(name="my_fm", checkpoint="best.pt", source=source)


def test_weights_of_a_package_are_found_without_importing_it(package, tmp_path):
    assert resolve_checkpoint(card_of(package()), {}) == tmp_path / "ecgpackage" / "models" / "best.pt"
    assert "ecgpackage" not in sys.modules


def test_weights_that_were_given_come_before_those_of_the_package(package, tmp_path):
    own = tmp_path / "own.pt"
    own.write_bytes(b"mine")
    assert resolve_checkpoint(card_of(package()), {"my_fm": str(own)}) == own


def test_other_weights_in_the_package_are_refused(package):
    found = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(EcgfmError) as error:
        resolve_checkpoint(card_of(package(digest="0" * 64)), {})
    for part in ("model 'my_fm'", f"expected SHA-256 {'0' * 64}", f"found {found}", "ecgpackage 2.7 is installed"):
        assert part in str(error.value)


def test_a_package_without_the_file_says_its_version(package):
    with pytest.raises(EcgfmError, match=r"'ecgpackage' has no file models/none\.pt \(ecgpackage 2\.7 is installed"):
        resolve_checkpoint(card_of(package("models/none.pt")), {})


def test_a_package_that_is_absent_is_one_line_that_says_what_to_install():
    address = "package://{}/models/best.pt#sha256=" + "0" * 64
    with pytest.raises(EcgfmError, match=r"'my_fm' needs package 'no_such_thing'.*: pip install no_such_thing$"):
        resolve_checkpoint(card_of(address.format("no_such_thing")), {})


def test_a_package_that_is_an_extra_is_installed_by_it(monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    declaration = builtin_models()["openecg_codec"]
    card = parse_card("openecg_codec", declaration.fields, where=declaration.where)
    with pytest.raises(EcgfmError) as error:
        resolve_checkpoint(card, {})
    assert str(error.value) == (
        "model 'openecg_codec' needs package 'openecg', which contains its weights: pip install '.[openecg]'"
    )


@pytest.mark.parametrize("address", ["package://openecg", "package://a/b", "package://a/../b#sha256=" + "0" * 64])
def test_malformed_addresses_of_packages(address):
    with pytest.raises(EcgfmError, match="should be package://PACKAGE/FILE#sha256=DIGEST"):
        resolve_checkpoint(card_of(address), {})
