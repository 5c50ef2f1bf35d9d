"""Downloads from a local server that can lose connections, refuse and send wrong data."""

import hashlib
import io
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from biml.cli.main import run_single_command
from biml.episodes.registry import EPISODE_TYPES
from biml.episodes.scan import scan_split
from biml.errors import BimlError, FormatError, UsageError
from biml.human.download import download, fetch, import_path
from biml.human.resources import RESOURCES
from biml.paths import DataFolders
from fakes.corpora import write_cogs

BODY = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves `body` at /file; the attributes make it misbehave."""

    daemon_threads = True
    body = BODY
    tag: str | None = '"one"'
    ranges = True
    status = 200
    bodies: dict[str, bytes] | None = None
    """By path; the same for all paths where it is None."""
    break_after: list[int]
    requests: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        if server.status != 200:
            self.send_error(server.status)
            return
        body = server.body if server.bodies is None else server.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        same = self.headers.get("If-Range") == server.tag
        if server.ranges and same and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            whole = len(body)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        if server.tag:
            self.send_header("ETag", server.tag)
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.break_after.pop(0)] if server.break_after else rest)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.break_after, made.requests = [], []
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
    return [headers.get("Range") for headers in server.requests]


def test_a_lost_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    seen: list[int] = []
    got = get(server, tmp_path / "file", progress=lambda done, total, **_: seen.append(done))
    assert got == BODY
    assert ranges(server) == [None, "bytes=300000-", "bytes=500000-"]
    assert seen == sorted(seen)
    assert seen[-1] == len(BODY)
    assert sorted(path.name for path in tmp_path.glob("file*")) == ["file"]


def test_a_later_command_resumes_an_unfinished_download(server: Server, tmp_path: Path) -> None:
    server.break_after = [400_000, 0, 0]
    with pytest.raises(BimlError, match="same command again"):
        get(server, tmp_path / "file", attempts=2)
    assert not (tmp_path / "file").exists()
    server.break_after = []
    assert get(server, tmp_path / "file") == BODY
    assert ranges(server)[-1] == "bytes=400000-"


def test_a_file_that_changed_on_the_server_is_downloaded_anew(
    server: Server, tmp_path: Path
) -> None:
    server.break_after = [400_000, 0]
    with pytest.raises(BimlError):
        get(server, tmp_path / "file", attempts=1)
    server.break_after, server.tag, server.body = [], '"two"', BODY[::-1]
    assert get(server, tmp_path / "file") == BODY[::-1]


def test_a_server_without_range_requests_sends_the_whole_file_again(
    server: Server, tmp_path: Path
) -> None:
    server.ranges = False
    server.break_after = [400_000]
    assert get(server, tmp_path / "file") == BODY


def test_without_a_version_header_the_whole_file_is_sent_again(
    server: Server, tmp_path: Path
) -> None:
    server.tag = None
    server.break_after = [400_000]
    assert get(server, tmp_path / "file") == BODY
    assert ranges(server) == [None, None]


@pytest.mark.parametrize(
    "headers",
    [
        {"Location": "ftp://127.0.0.1/file"},
        {"Location": "http://[broken"},
        {"Location": "file:///"},
    ],
)
def test_a_redirection_to_no_web_address_is_an_error(
    server: Server, headers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(302)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", redirect)
    with pytest.raises(BimlError, match=r"redirects|302"):
        get(server, tmp_path / "file", attempts=1)


def test_an_endless_content_length_is_too_large(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "9" * 5000)
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", declare)
    with pytest.raises(BimlError, match="larger than expected"):
        get(server, tmp_path / "file", attempts=1)


def test_two_downloads_of_one_address_are_refused(server: Server, tmp_path: Path) -> None:
    refused: list[str] = []

    def begin_another(done: int, total: int | None = None, **_: str) -> None:
        with pytest.raises(UsageError, match=re.escape(address(server))) as caught:
            download(RESOURCES["human"], tmp_path / "b", url=address(server))
        refused.append(str(caught.value))

    with pytest.raises(FormatError, match="zip"):  # what the server sends is no archive
        download(RESOURCES["human"], tmp_path, url=address(server), progress=begin_another)
    assert refused


def test_error_404_names_the_remedies(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(BimlError, match="404") as caught:
        get(server, tmp_path / "file")
    assert "--url" in str(caught.value)
    assert "biml data import" in str(caught.value)
    assert len(server.requests) == 1


def test_server_errors_are_retried(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(BimlError, match="503"):
        get(server, tmp_path / "file", attempts=3)
    assert len(server.requests) == 3


def test_a_file_with_a_wrong_checksum_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="checksum"):
        get(server, tmp_path / "file", sha256="0" * 64)
    assert not list(tmp_path.glob("file*"))
    assert get(server, tmp_path / "file", sha256=hashlib.sha256(BODY).hexdigest()) == BODY


def test_a_file_larger_than_the_limit_is_rejected(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="larger than expected"):
        fetch(address(server), tmp_path / "file", max_bytes=1000, pause=0)
    assert not list(tmp_path.glob("file*"))


def test_without_a_connection_the_error_names_the_import_command(tmp_path: Path) -> None:
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
def test_addresses_other_than_http_are_rejected(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"not a web address.*biml data import"):
        fetch(url, tmp_path / "folder" / "file", max_bytes=10)
    assert not (tmp_path / "folder").exists()


def test_an_unusable_cache_folder_is_an_error_that_names_the_variable(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "XDG_CACHE_HOME").write_text("a file")
    assert run_single_command("data", ["download", "human", "--url", address(server)]) == 1
    error = capsys.readouterr().err
    assert "downloads: could not be written" in error
    assert "variable XDG_CACHE_HOME" in error
    assert not server.requests


def test_a_file_that_cannot_be_written_is_not_reported_as_a_lost_connection(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").mkdir()
    with pytest.raises(BimlError, match=r"file\.part: could not be written"):
        get(server, tmp_path / "file")
    assert len(server.requests) == 1


def human_archive(shared: Path) -> bytes:
    """Packed as a repository's archive is: everything under a folder named by the version."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MLC-main/train.py", "print()")
        for file in sorted((shared / "data_human").rglob("*.txt")):
            archive.write(file, Path("MLC-main") / file.relative_to(shared))
    return packed.getvalue()


def test_human_data_are_extracted_from_the_repository_archive(
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


def packed(folder: Path, root: str, names: list[str]) -> bytes:
    """Some files of a folder, as the archive of a repository has them."""
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{root}/README.md", "text")
        for name in names:
            archive.write(folder / name, f"{root}/{name}")
    return archived.getvalue()


def test_cogs_is_put_together_from_two_archives(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_cogs(tmp_path)
    names = sorted(file.name for file in (tmp_path / "cogs").iterdir())
    lists = [name for name in names if name.startswith("vocab_")]
    sentences = [name for name in names if name not in lists]
    bodies = {
        "/a": packed(tmp_path / "cogs", "COGS-HEAD/data", sentences),
        "/b": packed(tmp_path / "cogs", "MLC-ML-HEAD/COGS", lists),
    }
    urls = tuple(address(server).replace("/file", path) for path in bodies)
    monkeypatch.setitem(RESOURCES, "cogs", replace(RESOURCES["cogs"], urls=urls))
    server.bodies = {"/a": bodies["/a"]}  # the other one is not there
    assert run_single_command("data", ["download", "cogs"]) == 1
    assert "404" in capsys.readouterr().err
    home = tmp_path / "XDG_DATA_HOME" / "biml" / "cogs"
    assert not home.exists()
    server.bodies = bodies
    assert run_single_command("data", ["download", "cogs"]) == 0
    assert f"cogs: {len(names)} files in {home}" in capsys.readouterr().out
    assert sorted(file.name for file in home.iterdir()) == names
    assert len(EPISODE_TYPES["cogs_iid"].open_evaluation(DataFolders(home), 0).episodes) > 1


def test_only_the_files_of_the_six_splits_of_scan_are_imported(tmp_path: Path) -> None:
    names = ("length_split/tasks_train_length.txt", "simple_split/tasks_test_simple.txt")
    others = ("simple_split/size_variations/tasks_train_simple_p1.txt", "tasks.txt")
    for name in (*names, *others):
        file = tmp_path / "SCAN-HEAD" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("IN: run OUT: I_RUN\n")
    result = import_path(tmp_path / "SCAN-HEAD", tmp_path / "data")
    assert (result.resource.name, result.files) == ("scan", 2)
    imported = {str(file.relative_to(result.folder)) for file in result.folder.rglob("*.txt")}
    assert imported == set(names)
    (tmp_path / "tasks_train_simple.txt").write_text("IN: look OUT: I_LOOK\n")
    import_path(tmp_path / "tasks_train_simple.txt", tmp_path / "data")
    pairs = scan_split("simple", DataFolders(tmp_path / "data", ()))
    assert [[" ".join(pair.input) for pair in part] for part in pairs] == [["look"], ["run"]]


def test_an_unrecognised_archive_is_not_installed(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "hello")
    for body in (packed.getvalue(), b"<html>not a zip</html>"):
        server.body = body
        with pytest.raises(BimlError, match=r"127\.0\.0\.1"):
            download(RESOURCES["human"], tmp_path / "dest", url=address(server))
    assert not (tmp_path / "dest" / "data_human").exists()
