"""Downloads over a connection that breaks off are tried again and go on; a local server stands in."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pictures import md5

from lthpaper.data import archives
from lthpaper.errors import InputError

CONTENT = bytes(range(256)) * 40
BREAKS_OFF, HANGS_UP, WHOLE = "breaks off", "hangs up", "whole"


class Server(HTTPServer):
    """Answers each request as the next of `answers` says, the last for ever: a word above or an HTTP status.

    asked: the Range of each request. ranges: whether the server can send a rest.
    """

    answers: tuple[object, ...] = (WHOLE,)
    ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answers, number = self.server.answers, len(self.server.asked)
        answer, span = answers[min(number, len(answers) - 1)], self.headers.get("Range")
        self.server.asked.append(span)
        if answer == HANGS_UP:
            return
        if isinstance(answer, int):
            return self.send_error(answer)
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and self.server.ranges else 0
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: 4000 if answer == BREAKS_OFF else None])

    def log_message(self, *words: object) -> None:
        """Nothing: stderr is looked at."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(archives, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as here:
        thread = threading.Thread(target=here.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield here
        here.shutdown()
        thread.join()


def test_a_download_that_breaks_off_goes_on_where_it_ended(server, tmp_path, capsys):
    server.answers = (HANGS_UP, BREAKS_OFF, BREAKS_OFF, WHOLE)
    archives.download(server.url, tmp_path / "new" / "file.gz", md5(CONTENT))
    assert (tmp_path / "new" / "file.gz").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.gz"]
    assert server.asked == [None, None, "bytes=4000-", "bytes=8000-"]
    said = capsys.readouterr().err
    assert said.count(f"lthpaper: {server.url}: ") == said.count("; trying again in 0 s") == 3
    assert "the connection ended after 8,000 of 10,240 bytes; trying again" in said


def test_a_server_that_cannot_send_a_rest_is_asked_for_all_of_it(server, tmp_path):
    server.answers, server.ranges = (BREAKS_OFF, WHOLE), False
    archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.answers = (503, 429, WHOLE)
    archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    assert len(server.asked) == 3


def test_a_connection_that_always_breaks_off_ends_with_what_to_do_by_hand(server, tmp_path):
    server.answers, server.ranges = (BREAKS_OFF,), False
    with pytest.raises(InputError) as raised:
        archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    said = str(raised.value)
    assert said.startswith(f"{server.url} could not be downloaded to {tmp_path}/file.gz in 4 tries (the conn")
    assert f"`curl --create-dirs -L -o {tmp_path}/file.gz {server.url}`" in said
    assert said.endswith(f"a file there with MD5 {md5(CONTENT)} is used.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("answer", [404, 403])
def test_what_another_try_cannot_change_is_tried_once(answer, server, tmp_path, capsys):
    server.answers = (answer,)
    with pytest.raises(InputError, match=f"could not be downloaded .* in 1 try .*{answer}"):
        archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    assert len(server.asked) == 1
    assert not capsys.readouterr().err


def test_a_full_disk_is_not_tried_again(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(InputError, match=r"in 1 try .*No space left"):
        archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    assert len(server.asked) == 1


def test_the_waits_between_tries_are_seconds(server, tmp_path, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(archives, "WAITS", (1.0, 2.0))
    monkeypatch.setattr(archives.time, "sleep", waited.append)
    server.answers = (HANGS_UP,)
    with pytest.raises(InputError, match="in 3 tries"):
        archives.download(server.url, tmp_path / "file.gz", md5(CONTENT))
    assert waited == [1.0, 2.0]
