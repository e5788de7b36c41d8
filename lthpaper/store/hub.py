"""Published results on the Hugging Face hub: brought here, or put there, file by file with their checksums.

A repository of the kind "dataset" holds what `results/` holds: a folder a scale, each with a manifest.json
that lists its files and their SHA-256. Only such files are brought, and only if they are what their manifest
says; nothing that is brought is ever executed. Needs the extra `hub`.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthpaper.errors import InputError, printable, require

MANIFEST = "manifest.json"
SCALE = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}\.(parquet|json)", re.ASCII)
BROUGHT = ["*/manifest.json", "*/*.parquet"]
LARGEST_MANIFEST = 16 * 2**20  # bytes
OFFLINE = (
    "Results that were brought before are read without the hub, and `lthpaper run` trains what is missing."
)


@dataclass(frozen=True)
class Moved:
    """What was brought or put. files: by scale, how many; revision: the hub's commit."""

    scales: dict[str, int]
    revision: str


def pull(
    repo: str, folder: str | Path, revision: str = "main", endpoint: str | None = None, replace: bool = False
) -> Moved:
    """Bring the published results of a repository into a folder, one folder a scale.

    They are downloaded beside it, checked against their manifests, and only then moved to their places. A
    scale that is there already stays, and is refused unless it is the same; replace: it is put aside.
    Raises InputError if the hub or the repository cannot be reached, or a file is not what its manifest says.
    """
    folder = Path(folder)
    require(not folder.exists() or folder.is_dir(), f"{folder} is a file; it must be a folder.")
    with _hub(repo, endpoint) as hub, tempfile.TemporaryDirectory(prefix="lthpaper-pull-") as made:
        about = hub.HfApi(endpoint=endpoint).repo_info(repo, repo_type="dataset", revision=revision)
        got = Path(made) / "got"
        where = {"repo_type": "dataset", "revision": about.sha, "endpoint": endpoint, "local_dir": got}
        hub.snapshot_download(repo, allow_patterns=BROUGHT, **where)
        scales = verified(got)
        for scale in scales:
            there, new = folder / scale, got / scale
            same = there.is_dir() and _checksums(there) == _checksums(new)
            require(
                replace or same or not there.exists(),
                f"{there} is there already and differs from {repo}; say --replace to bring it all the same.",
            )
        for scale, files in scales.items():
            _install(got / scale, folder / scale, files)
    return Moved({scale: len(files) for scale, files in scales.items()}, about.sha)


def push(repo: str, folder: str | Path, message: str = "", endpoint: str | None = None) -> Moved:
    """Put a folder of published results into a repository, which is made if it is not there.

    The token is huggingface-hub's own (`hf auth login`, or HF_TOKEN). Raises InputError as `pull` does.
    """
    scales = verified(Path(folder))
    with _hub(repo, endpoint) as hub:
        api = hub.HfApi(endpoint=endpoint)
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        names = [f"{scale}/{name}" for scale, files in scales.items() for name in files]
        operations = [hub.CommitOperationAdd(name, str(Path(folder) / name)) for name in names]
        said = message or f"lthpaper: published results of {', '.join(scales)}"
        done = api.create_commit(repo, operations, commit_message=said, repo_type="dataset")
    return Moved({scale: len(files) for scale, files in scales.items()}, done.oid)


def verified(folder: Path) -> dict[str, list[str]]:
    """{scale: names of its files} of a folder of published results, checked against their manifests.

    Raises InputError if there are none, or one lacks a file or is not what was written.
    """
    scales = {}
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        require(SCALE.fullmatch(path.parent.name) is not None, f"{_named(path)} lies in no scale's folder.")
        listed = _listed(path)
        for name, expected in listed.items():
            file = path.parent / name
            require(
                file.is_file() and not file.is_symlink(),
                f"{_named(file)} is missing, which {MANIFEST} lists.",
            )
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            require(
                found == expected,
                f"{_named(file)} is not what its {MANIFEST} says (SHA-256 {found[:12]}…, expected "
                f"{expected[:12]}…): nothing was brought or put.",
            )
        scales[path.parent.name] = [MANIFEST, *listed]
    require(bool(scales), f"There are no published results in {folder}: no folder of it has a {MANIFEST}.")
    return scales


def _listed(path: Path) -> dict[str, str]:
    """{name: SHA-256} of a manifest, which may come from a stranger."""
    try:
        require(path.stat().st_size <= LARGEST_MANIFEST, f"{_named(path)} is too large to be one.")
        files = json.loads(path.read_text())["files"]
        listed = {name: about["sha256"] for name, about in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{_named(path)} is no manifest of results ({type(error).__name__}).") from error
    for name, checksum in listed.items():
        good = FILE.fullmatch(name) and name != MANIFEST and re.fullmatch("[0-9a-f]{64}", str(checksum))
        require(
            bool(good), f"{_named(path)} lists {printable(str(name))[:60]!r}, which is no file of results."
        )
    return listed


def _checksums(folder: Path) -> dict[str, str] | None:
    try:
        return _listed(folder / MANIFEST)
    except InputError:
        return None


def _install(new: Path, there: Path, files: list[str]) -> None:
    """Put a checked scale in its place; what was there goes only when all of it is beside it."""
    there.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{there.name}-", dir=there.parent))
    try:
        for name in files:
            shutil.copyfile(new / name, beside / name)
        beside.chmod(0o755)
        if there.exists():
            old = beside.with_name(f"{beside.name}-old")
            there.rename(old)
            beside.rename(there)
            shutil.rmtree(old)
        else:
            beside.rename(there)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _named(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")


@contextmanager
def _hub(repo: str, endpoint: str | None) -> Iterator[Any]:
    """huggingface_hub; whatever it raises is an InputError that says what to do."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(
            "huggingface-hub is not installed, which talks to the hub: pip install 'lthpaper[hub]'. "
            + OFFLINE
        ) from error
    where = endpoint or hub.constants.ENDPOINT
    try:
        yield hub
    except InputError:
        raise
    except errors.HFValidationError as error:
        raise InputError(f"{repo!r} is no repository's name ({error}); it must be owner/name.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{repo} was not found on {where}, or not at that revision, or you may not see it: look at its "
            "name, or log in with `hf auth login`."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        raise InputError(
            f"{where} refused {repo} (status {status}). If it is yours, log in with `hf auth login`."
        ) from error
    except Exception as error:  # no network, a proxy, HF_HUB_OFFLINE: of several libraries' classes
        if not _of_the_network(error):
            raise
        raise InputError(f"{where} cannot be reached ({type(error).__name__}). {OFFLINE}") from error


def _of_the_network(error: Exception) -> bool:
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    named = modules & {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "huggingface_hub"}
    return isinstance(error, ConnectionError | TimeoutError) or bool(named)
