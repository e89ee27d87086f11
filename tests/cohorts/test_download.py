"""A server that is not what it should be gets neither more attempts nor more bytes than it should."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts import download
from pytest_ecgfm.cohorts.download import Downloader, Item, same_source
from pytest_ecgfm.errors import EcgfmError

CONTENT = bytes(range(256)) * 40


class Server:
    """Answers every request by `reply(handler)`, and counts them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.reply = plain
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Accept-Encoding", "")))
                outer.reply(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


def send(handler: BaseHTTPRequestHandler, data: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def plain(handler: BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT)


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    made = [Server(), Server()]
    yield made
    for one in made:
        one.http.shutdown()
        one.http.server_close()


def fetch(server: Server, folder: Path, path: str = "/file", **item) -> Path:
    downloader = Downloader()
    try:
        downloader.fetch(Item("file", server.url + path, **item), folder / "file")
    finally:
        downloader.close()
    return folder / "file"


def refused(server: Server, folder: Path, message: str, requests: int = 1, **item) -> None:
    with pytest.raises(EcgfmError, match=message):
        fetch(server, folder, **item)
    assert len(server.asked) == requests
    assert not list(folder.iterdir())


def test_nothing_is_asked_to_be_compressed(servers, tmp_path) -> None:
    assert fetch(servers[0], tmp_path, size=len(CONTENT)).read_bytes() == CONTENT
    assert servers[0].asked == [("/file", "identity")]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "x-gzip"])
def test_a_compressed_answer_is_refused_once_and_not_unpacked(servers, tmp_path, encoding) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    servers[0].reply = lambda handler: send(handler, bomb, Content_Encoding=encoding)
    refused(servers[0], tmp_path, "the answer is compressed")


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(100_000):
            handler.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
    except OSError:
        pass


@pytest.mark.parametrize("item", [{"size": 100_000}, {"limit": 100_000}])
@pytest.mark.parametrize("stated", [True, False])
def test_no_more_bytes_than_the_index_states(servers, tmp_path, item, stated) -> None:
    servers[0].reply = (lambda handler: send(handler, bytes(200_000))) if stated else endless
    refused(servers[0], tmp_path, "more than the 100,000 bytes that", **item)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    host=st.sampled_from(
        ["other.example", "physionet.org.evil.example", "evilphysionet.org", "127.0.0.1", "localhost", "[::1]"]
    ),
    scheme=st.sampled_from(["https", "http", "ftp", "file"]),
    path=st.sampled_from(["/", "/files/x", "/?u=physionet.org", "/@physionet.org"]),
)
def test_redirects_to_elsewhere(host: str, scheme: str, path: str) -> None:
    assert not same_source("https://physionet.org/files/x", f"{scheme}://{host}{path}")


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        ("https://physionet.org/other", True),
        ("https://static.physionet.org/other", True),
        ("http://physionet.org/other", False),
        ("http://static.physionet.org/other", False),
        ("https://physionet.org:8443/other", False),
        ("https://user:word@physionet.org/other", False),
        ("https://physionet.org@evil.example/", False),
        ("https:///etc/passwd", False),
        ("https://physionet.org:port/", False),
    ],
)
def test_redirects_of_a_source(target: str, stays: bool) -> None:
    assert same_source("https://physionet.org/files/x", target) is stays


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_is_refused_and_never_asked(servers, tmp_path, status) -> None:
    one, other = servers
    one.reply = lambda handler: send(handler, b"", status, Location=f"{other.url}/file")
    refused(one, tmp_path, "redirects to elsewhere")
    assert not other.asked


def test_a_redirect_on_the_same_server_is_followed(servers, tmp_path) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/file":
            send(handler, b"", 302, Location="/there")
        else:
            plain(handler)

    servers[0].reply = reply
    assert fetch(servers[0], tmp_path).read_bytes() == CONTENT


def test_redirects_end(servers, tmp_path) -> None:
    servers[0].reply = lambda handler: send(handler, b"", 302, Location="/file")
    refused(servers[0], tmp_path, "more than 5 redirects", requests=6)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 406, 410, 411, 414, 418, 422, 426, 431, 451])
def test_what_is_refused_is_not_asked_for_again(servers, tmp_path, status) -> None:
    servers[0].reply = lambda handler: send(handler, b"", status)
    refused(servers[0], tmp_path, f"HTTP status {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_asked_for_again(servers, tmp_path, status) -> None:
    servers[0].reply = lambda handler: plain(handler) if len(servers[0].asked) > 2 else send(handler, b"", status)
    assert fetch(servers[0], tmp_path).read_bytes() == CONTENT
