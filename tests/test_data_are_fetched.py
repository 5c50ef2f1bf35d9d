"""Downloads against a server on this machine that can break off, refuse and lie."""

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from biml.cli.main import run_single_command
from biml.errors import BimlError, UsageError
from biml.human.download import download, fetch
from biml.human.resources import RESOURCES

BODY = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves `body` at /file; the attributes make it misbehave."""

    daemon_threads = True
    body = BODY
    tag: str | None = '"one"'
    ranges = True
    status = 200
    break_after: list[int]
    asked: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(dict(self.headers))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        same = self.headers.get("If-Range") == server.tag
        if server.ranges and same and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            whole = len(server.body)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        if server.tag:
            self.send_header("ETag", server.tag)
        rest = server.body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.break_after.pop(0)] if server.break_after else rest)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.break_after, made.asked = [], []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "BIML_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/file"


def get(server: Server, target: Path, **options: object) -> bytes:
    fetch(address(server), target, max_bytes=10**7, pause=0.001, **options)  # type: ignore[arg-type]
    return target.read_bytes()


def ranges(server: Server) -> list[str | None]:
    return [headers.get("Range") for headers in server.asked]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    seen: list[int] = []
    got = get(server, tmp_path / "file", progress=lambda done, total: seen.append(done))
    assert got == BODY
    assert ranges(server) == [None, "bytes=300000-", "bytes=500000-"]
    assert seen == sorted(seen)
    assert seen[-1] == len(BODY)
    assert sorted(path.name for path in tmp_path.glob("file*")) == ["file"]


def test_a_later_command_goes_on_with_what_an_earlier_one_left(
    server: Server, tmp_path: Path
) -> None:
    server.break_after = [400_000, 0, 0]
    with pytest.raises(BimlError, match="same command again"):
        get(server, tmp_path / "file", attempts=2)
    assert not (tmp_path / "file").exists()
    server.break_after = []
    assert get(server, tmp_path / "file") == BODY
    assert ranges(server)[-1] == "bytes=400000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.break_after = [400_000, 0]
    with pytest.raises(BimlError):
        get(server, tmp_path / "file", attempts=1)
    server.break_after, server.tag, server.body = [], '"two"', BODY[::-1]
    assert get(server, tmp_path / "file") == BODY[::-1]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [400_000]
    assert get(server, tmp_path / "file") == BODY


def test_without_a_way_to_tell_versions_apart_all_is_sent_again(
    server: Server, tmp_path: Path
) -> None:
    server.tag = None
    server.break_after = [400_000]
    assert get(server, tmp_path / "file") == BODY
    assert ranges(server) == [None, None]


def test_a_missing_file_says_so_and_what_to_do(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(BimlError, match="404") as caught:
        get(server, tmp_path / "file")
    assert "--url" in str(caught.value)
    assert "biml data import" in str(caught.value)
    assert len(server.asked) == 1


def test_a_failing_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(BimlError, match="503"):
        get(server, tmp_path / "file", attempts=3)
    assert len(server.asked) == 3


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="checksum"):
        get(server, tmp_path / "file", sha256="0" * 64)
    assert not list(tmp_path.glob("file*"))
    assert get(server, tmp_path / "file", sha256=hashlib.sha256(BODY).hexdigest()) == BODY


def test_a_file_far_too_large_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="larger than expected"):
        fetch(address(server), tmp_path / "file", max_bytes=1000, pause=0)
    assert not list(tmp_path.glob("file*"))


def test_offline_says_so_and_names_the_way_round(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(BimlError, match=r"no connection.*biml data import"):
            fetch(url, tmp_path / "file", max_bytes=10, attempts=2, pause=0)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "human.zip", "http:///file", "http://[x", "http://host:x/file"),
        *("http://host/my file", "http://höst/file"),
    ],
)
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"not a web address.*biml data import"):
        fetch(url, tmp_path / "folder" / "file", max_bytes=10)
    assert not (tmp_path / "folder").exists()


def test_a_cache_folder_that_cannot_be_used_is_told_with_the_remedy(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "XDG_CACHE_HOME").write_text("a file")
    assert run_single_command("data", ["download", "human", "--url", address(server)]) == 1
    error = capsys.readouterr().err
    assert "downloads: could not be written (Not a directory)" in error
    assert "in the environment variable XDG_CACHE_HOME" in error
    assert not server.asked


def test_a_file_that_cannot_be_written_is_not_taken_for_a_broken_connection(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").mkdir()
    with pytest.raises(BimlError, match=r"file\.part: could not be written"):
        get(server, tmp_path / "file")
    assert len(server.asked) == 1


def human_archive(shared: Path) -> bytes:
    """Packed as a repository's archive is: everything under a folder named by the version."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MLC-main/train.py", "print()")
        for file in sorted((shared / "data_human").rglob("*.txt")):
            archive.write(file, Path("MLC-main") / file.relative_to(shared))
    return packed.getvalue()


def test_human_data_are_taken_out_of_the_repositorys_archive(
    server: Server, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = human_archive(shared)
    server.break_after = [20_000]
    assert run_single_command("data", ["download", "human", "--url", address(server)]) == 0
    assert "files in" in capsys.readouterr().out
    home = tmp_path / "XDG_DATA_HOME" / "biml"
    there = {path.relative_to(home) for path in home.rglob("*") if path.is_file()}
    files = (shared / "data_human").rglob("*.txt")
    assert there == {path.relative_to(shared) for path in files}
    assert not list((tmp_path / "XDG_CACHE_HOME").rglob("*.zip*"))

    assert run_single_command("data", ["status"]) == 0
    listing = capsys.readouterr().out
    assert str(home / "data_human") in listing
    assert "missing: biml data download models" in listing

    assert run_single_command("data", ["download", "human", "--url", address(server)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_an_archive_of_something_else_is_not_put_in_place(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "hello")
    for body in (packed.getvalue(), b"<html>not a zip</html>"):
        server.body = body
        with pytest.raises(BimlError, match=r"127\.0\.0\.1"):
            download(RESOURCES["human"], tmp_path / "dest", url=address(server))
    assert not (tmp_path / "dest" / "data_human").exists()
