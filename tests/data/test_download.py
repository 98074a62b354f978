"""Against a real server on this machine, which fails in the ways that servers do."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from preflight.data import download
from preflight.data.archives import pack
from preflight.data.download import fetch, unsafe
from tests.conftest import CHECKOUT

BODY = os.urandom(300_000)
SUM = hashlib.sha256(BODY).hexdigest()


def quiet(what, done, total):
    pass


class Server(ThreadingHTTPServer):
    """Answers each request for the archive with the next of `answers`, the last again and again."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.sum, self.answers, self.asked = BODY, '"one"', "", ["whole"], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self, name="data.zip"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith(".sha256"):
            return self.answer(200, self.server.sum.encode()) if self.server.sum else self.answer(404, b"")
        self.server.asked.append(self.headers.get("Range", ""))
        answers = self.server.answers
        kind = answers.pop(0) if len(answers) > 1 else answers[0]
        if kind.isdigit():
            return self.answer(int(kind), b"")
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(BODY)
        if kind == "no length":
            self.send_response(200)
            self.send_header("Content-Length", "abc")
            self.end_headers()
            self.close_connection = True
            return self.wfile.write(BODY)
        if kind == "elsewhere":
            return self.answer(302, b"", Location="http://example.com/data.zip")
        if self.headers.get("If-None-Match") == self.server.etag:
            return self.answer(304, b"")
        body, status, extra = self.server.body, 200, {}
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range") == self.server.etag:
            start = int(asked[1])
            body, status, extra = body[start:], 206, {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        return self.answer(status, body, cut=kind == "cut", ETag=self.server.etag, **extra)

    def answer(self, status, body, cut=False, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    one = Server()
    yield one
    one.shutdown()
    one.server_close()


def codes(findings):
    return [finding.code for finding in findings]


def test_an_archive_is_fetched_once(server, tmp_path):
    server.sum = f"{SUM}  data.zip\n"
    path, findings = fetch(server.address(), "", tmp_path, quiet)
    assert (path.read_bytes(), findings) == (BODY, [])
    assert path.with_name("data.zip.sha256").read_text() == f"{SUM}  data.zip\n"
    assert fetch(server.address(), "", tmp_path, quiet)[0] == path
    assert server.asked == [""]
    assert sorted(one.name for one in path.parent.iterdir()) == ["data.zip", "data.zip.etag", "data.zip.sha256"]


def test_one_that_is_cut_again_and_again_is_gone_on_with(server, tmp_path):
    server.answers = ["cut", "cut", "cut", "whole"]
    path, findings = fetch(server.address(), "", tmp_path, quiet)
    assert path.read_bytes() == BODY
    assert codes(findings) == ["data.no-checksum"]
    assert server.asked == ["", "bytes=150000-", "bytes=225000-", "bytes=262500-"]


def test_a_length_that_is_no_number_is_a_server_that_fails(server, tmp_path):
    server.answers = ["no length"]
    path, findings = fetch(server.address(), "", tmp_path, quiet)
    assert (path, codes(findings)) == (None, ["data.download"])
    assert "tried 5 times" in findings[0].message
    server.answers = ["no length", "whole"]
    assert fetch(server.address(), "", tmp_path, quiet)[0].read_bytes() == BODY


def test_a_part_that_an_interrupt_left_is_gone_on_with(server, tmp_path):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    server.body = BODY * 10
    with pytest.raises(KeyboardInterrupt):
        fetch(server.address(), "", tmp_path, interrupt)
    path, _ = fetch(server.address(), "", tmp_path, quiet)
    assert path.read_bytes() == BODY * 10
    assert re.fullmatch(r"bytes=\d+-", server.asked[-1])


def test_another_file_at_the_same_address_is_not_mixed_in(server, tmp_path):
    server.answers = ["cut", "404"]
    fetch(server.address(), "", tmp_path, quiet)
    server.body, server.etag, server.answers = BODY[::-1], '"two"', ["whole"]
    path, _ = fetch(server.address(), "", tmp_path, quiet)
    assert path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("answers", "says", "asked"),
    [(["404"], "404", 1), (["403"], "403", 1), (["500"], "tried 5 times", 5), (["cut", "416", "whole"], "", 3), (["503", "429", "whole"], "", 3)],
)
def test_answers_that_are_errors(server, tmp_path, answers, says, asked):
    server.answers = answers
    path, findings = fetch(server.address(), SUM, tmp_path, quiet)
    assert len(server.asked) == asked
    if says:
        assert path is None
        assert says in findings[0].message
        assert codes(findings) == ["data.download"]
    else:
        assert path.read_bytes() == BODY


def test_a_redirect_to_plain_http_is_refused(server, tmp_path):
    server.answers = ["elsewhere"]
    path, findings = fetch(server.address(), SUM, tmp_path, quiet)
    assert path is None
    assert "leads to http://example.com/data.zip: only https" in findings[0].message


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("https://a.b/data.zip", False),
        ("http://127.0.0.1:80/data.zip", False),
        ("http://a.b/data.zip", True),
        ("ftp://a.b/data.zip", True),
        ("file:///etc/passwd", True),
    ],
)
def test_which_addresses_are_fetched_from(address, refused):
    assert bool(unsafe(address)) == refused


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    path, findings = fetch("http://127.0.0.1:9/data.zip", SUM, tmp_path, quiet)
    assert (path, codes(findings)) == (None, ["data.download"])


def test_rows_from_an_address(server, preflight, tmp_path):
    """The third way of scripts/package_data.sh, as a person types it; then with another sum than it has."""
    rows = [CHECKOUT / f"sample_data/{name}_postgres.jsonl" for name in ("train", "val", "test")]
    digest = pack(rows, tmp_path / "data.zip", 10**9, quiet)
    server.body = (tmp_path / "data.zip").read_bytes()
    ran = preflight("axolotl_configs/smoke.yaml", "--data", server.address(), "--sha256", digest, "--json")
    assert (ran.code, ran.json["plan"]["steps"]) == (0, 398)
    wrong = preflight("axolotl_configs/smoke.yaml", "--data", server.address(), "--sha256", "0" * 64, "--json")
    assert (wrong.code, "data.checksum" in wrong.codes) == (1, True)


def zipped(folder, text):
    """The bytes of an archive of rows."""
    (folder / "train.jsonl").write_text(text)
    pack([folder / "train.jsonl"], folder / "packed.zip", 10**9, quiet)
    return (folder / "packed.zip").read_bytes()


def test_what_fails_its_checksum_is_fetched_again(server, tmp_path):
    """The fix says to bring it again; before, what was corrupt once was never asked for a second time."""
    server.body = zipped(tmp_path, '{"text": "a"}\n')
    server.sum = hashlib.sha256(server.body).hexdigest()
    path, _ = fetch(server.address(), "", tmp_path / "to", quiet)
    path.write_bytes(server.body[:-9])
    again, findings = fetch(server.address(), "", tmp_path / "to", quiet)
    assert (again.read_bytes(), findings) == (server.body, [])
    assert len(server.asked) == 2
    fetch(server.address(), "", tmp_path / "to", quiet)
    assert len(server.asked) == 2, "what is right is not fetched again"


@pytest.mark.parametrize("summed", [True, False], ids=["with a checksum", "with an ETag alone"])
def test_a_newer_archive_at_the_same_address_is_seen(server, tmp_path, summed):
    for etag, text in (('"one"', "old"), ('"two"', "new")):
        server.body, server.etag = zipped(tmp_path, text), etag
        server.sum = hashlib.sha256(server.body).hexdigest() if summed else ""
        for _ in range(2):
            path, _ = fetch(server.address(), "", tmp_path / "to", quiet)
            assert path.read_bytes() == server.body


def test_without_a_network_what_was_fetched_is_used(server, tmp_path):
    server.body = zipped(tmp_path, "rows")
    path, _ = fetch(server.address(), "", tmp_path / "to", quiet)
    server.answers = ["500"]
    again, findings = fetch(server.address(), "", tmp_path / "to", quiet)
    assert (again, codes(findings)) == (path, ["data.no-checksum"])
    assert again.read_bytes() == server.body


def test_an_answer_without_an_end_does_not_fill_the_disk(server, tmp_path, monkeypatch):
    """On a real disk of 64 MB; nothing is left of it, so that whatever else is written there goes on."""
    server.answers = ["endless"]
    monkeypatch.setattr(download, "EVERY", 1 << 20)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", small], check=False).returncode:
        pytest.skip("a mount needs root")
    try:
        path, findings = fetch(server.address(), "", small, quiet)
        assert (path, findings[-1].code) == (None, "workspace.full")
        assert shutil.disk_usage(small).free > 60_000_000
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_disk_that_an_announced_length_would_fill_is_left_alone(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SPARE", 1 << 60)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(total=10**6, free=3 * 10**5))
    path, findings = fetch(server.address(), "", tmp_path, quiet)
    assert (path, findings[-1].code) == (None, "workspace.full")
    assert not list(tmp_path.rglob("*.part"))
