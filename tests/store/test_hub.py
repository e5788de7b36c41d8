"""Published results travel over the hub's HTTP interface, here spoken by a stand-in on this machine."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_merge_and_prune import unreadable

from lthpaper.errors import InputError
from lthpaper.store import hub
from lthpaper.store.entry import Unreadable

pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/results"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def scale(name: str, **tables: bytes) -> dict[str, bytes]:
    """The files of a scale, as a repository holds them."""
    files = {f"{table}.parquet": {"sha256": sha256(content)} for table, content in tables.items()}
    made = {f"{name}/{table}.parquet": content for table, content in tables.items()}
    return made | {f"{name}/manifest.json": json.dumps({"format": 1, "files": files}).encode()}


class Hub(ThreadingHTTPServer):
    """As much of the hub as huggingface-hub asks for: a dataset repository's tree, its files, and commits."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, dict[str, bytes]] = {}  # repository -> path -> content
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *words: object) -> None:
        pass

    def say(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self) -> None:
        self.say({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/[^/]+/?", path):
            files = self.server.files.get(match[1])
            if files is None:
                return self.missing()
            if match[2] == "revision":
                return self.say(
                    {"id": match[1], "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
                )
            entry = {"type": "file", "oid": COMMIT}
            return self.say([entry | {"path": n, "size": len(c)} for n, c in files.items()])
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            content = self.server.files.get(match[1], {}).get(match[2])
            if content is None:
                return self.missing()
            if self.command == "GET":
                self.server.fetched.append(match[2])
            return self.say(content, ETag=f'"{sha256(content)[:40]}"', X_Repo_Commit=COMMIT)
        return self.missing()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or "somebody"
            self.server.files.setdefault(f"{owner}/{asked['name']}", {})
            return self.say({"url": f"{self.server.url}/datasets/{owner}/{asked['name']}"})
        repo = re.match(r"/api/datasets/([^/]+/[^/]+)/", self.path)[1]
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
            return self.say({"files": [f | {"shouldIgnore": False} for f in files]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.files[repo][line["value"]["path"]] = content
        url = f"{self.server.url}/datasets/{repo}/commit/{COMMIT}"
        return self.say({"success": True, "commitOid": COMMIT, "commitUrl": url})


@pytest.fixture
def there(monkeypatch) -> Hub:
    """A hub with one repository, which holds a scale."""
    server = Hub()
    others = {"README.md": b"#", "x.py": b"evil()", "laptop/x.py": b"evil()"}
    server.files[REPO] = scale("laptop", runs=b"runs", planes=b"planes") | others
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_results_are_brought_and_nothing_else(there, tmp_path):
    moved = hub.pull(REPO, tmp_path / "results", endpoint=there.url)
    assert moved == hub.Moved({"laptop": 3}, COMMIT)
    assert files(tmp_path / "results") == scale("laptop", runs=b"runs", planes=b"planes")
    assert set(there.fetched) == set(scale("laptop", runs=b"", planes=b""))


def test_a_file_that_is_not_what_its_manifest_says_brings_nothing(there, tmp_path):
    there.files[REPO]["laptop/runs.parquet"] = b"others"
    with pytest.raises(
        InputError,
        match=r"laptop/runs\.parquet does not have the checksum it was written with: nothing was downloaded",
    ):
        hub.pull(REPO, tmp_path / "results", endpoint=there.url)
    del there.files[REPO]["laptop/runs.parquet"]
    with pytest.raises(InputError, match=r"laptop/runs\.parquet is missing"):
        hub.pull(REPO, tmp_path / "results", endpoint=there.url)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "name", ["../../evil.parquet", "/etc/x.parquet", "run.py", "a/b.parquet", "manifest.json"]
)
def test_a_manifest_may_name_no_other_files(there, tmp_path, name):
    listed = {"files": {name: {"sha256": sha256(b"x")}}}
    there.files[REPO] = {"laptop/manifest.json": json.dumps(listed).encode()}
    with pytest.raises(InputError, match=r"manifest\.json is no manifest of results"):
        hub.pull(REPO, tmp_path / "results", endpoint=there.url)


@pytest.mark.parametrize("text", [b"-", b"[]", b"{}", b'{"files": 3}', b'{"files": {"a": 1}}', b"[" * 9000])
def test_a_manifest_that_is_none_is_named(there, tmp_path, text):
    there.files[REPO] = {"laptop/manifest.json": text}
    with pytest.raises(
        InputError, match=r"manifest\.json (is no manifest of results|cannot be read|is not a description)"
    ):
        hub.pull(REPO, tmp_path / "results", endpoint=there.url)


def test_a_scale_that_is_there_stays_unless_it_is_to_be_replaced(there, tmp_path):
    folder = tmp_path / "results"
    hub.pull(REPO, folder, endpoint=there.url)
    hub.pull(REPO, folder, endpoint=there.url)  # the same: nothing to refuse
    there.files[REPO] = scale("laptop", runs=b"newer")
    with pytest.raises(InputError, match="differs from somebody/results; give --replace"):
        hub.pull(REPO, folder, endpoint=there.url)
    assert (folder / "laptop" / "runs.parquet").read_bytes() == b"runs"
    hub.pull(REPO, folder, endpoint=there.url, replace=True)
    assert files(folder) == scale("laptop", runs=b"newer")


def test_a_scale_that_cannot_be_read_now_is_not_said_to_differ(there, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    hub.pull(REPO, folder, endpoint=there.url)
    with monkeypatch.context() as patch:
        unreadable(patch, folder / "laptop" / "manifest.json")
        with pytest.raises(Unreadable, match=r"cannot be read now .* It may be whole"):
            hub.pull(REPO, folder, endpoint=there.url)


def test_what_is_put_is_what_comes_back(there, tmp_path):
    mine = scale("desktop", runs=b"mine") | scale("laptop", runs=b"also mine")
    for name, content in (mine | {"desktop/notes.txt": b"private"}).items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    moved = hub.push("somebody/new", tmp_path / "mine", endpoint=there.url)
    assert moved.scales == {"desktop": 2, "laptop": 2}
    assert there.files["somebody/new"] == mine
    hub.pull("somebody/new", tmp_path / "back", endpoint=there.url)
    assert files(tmp_path / "back") == mine


def test_damaged_results_are_not_put(there, tmp_path):
    (tmp_path / "laptop").mkdir()
    for name, content in scale("laptop", runs=b"runs").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "laptop" / "runs.parquet").write_bytes(b"other")
    with pytest.raises(InputError, match="does not have the checksum it was written with"):
        hub.push("somebody/new", tmp_path, endpoint=there.url)
    assert "somebody/new" not in there.files


def test_a_repository_that_is_not_there_is_named(there, tmp_path):
    with pytest.raises(InputError, match="somebody/else was not found on http"):
        hub.pull("somebody/else", tmp_path / "results", endpoint=there.url)
    with pytest.raises(InputError, match="is no repository's name"):
        hub.pull("not a name!", tmp_path / "results", endpoint=there.url)


def test_without_the_network_it_says_so_and_what_goes_on_working(tmp_path):
    with pytest.raises(InputError, match=r"cannot be reached .*are read without the hub"):
        hub.pull(REPO, tmp_path / "results", endpoint="http://127.0.0.1:9")  # nobody listens there


def test_the_command_without_an_endpoint_reaches_for_the_hubs_own(tmp_path):
    """In a process of its own: here the stand-in has imported what the command must import itself."""
    words = [sys.executable, "-m", "lthpaper", "results", "pull", REPO]
    there = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, cwd=tmp_path, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("lthpaper: http://127.0.0.1:9 cannot be reached")


@pytest.mark.parametrize("repo", ["results", "a/b/c"])
def test_a_repository_has_an_owner_and_a_name(tmp_path, repo):
    with pytest.raises(InputError, match="it must be owner/name"):
        hub.pull(repo, tmp_path / "results")
