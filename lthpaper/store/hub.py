"""Download and upload published results from and to the Hugging Face hub, with their checksums verified.

A dataset repository holds what `results/` holds: one folder per scale, each with a manifest.json that lists
its files and their SHA-256. Only such files are downloaded, and only if their checksums match; nothing that
is downloaded is ever executed. Needs the extra `hub`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthpaper.errors import InputError, printable, require
from lthpaper.store.entry import Damaged, NewerFormat, Unreadable
from lthpaper.store.parquet import content_at
from lthpaper.store.published import MANIFEST, SCALE, Scale

FILES = ["*/manifest.json", "*/*.parquet"]
OFFLINE = (
    "Results that were brought before are read without the hub, and `lthpaper run` trains what is missing."
)


@dataclass(frozen=True)
class Moved:
    """What was downloaded or uploaded. scales: the number of files of each; revision: the hub's commit."""

    scales: dict[str, int]
    revision: str


def pull(
    repo: str, folder: str | Path, revision: str = "main", endpoint: str | None = None, replace: bool = False
) -> Moved:
    """Download the published results of a repository into a folder, one folder per scale.

    They are downloaded to a temporary folder, checked against their manifests, and only then installed. A
    scale that is there already and differs is refused; replace: it is replaced. Raises InputError if the hub
    or the repository cannot be reached, or a file is not what its manifest says.
    """
    folder = Path(folder)
    require(not folder.exists() or folder.is_dir(), f"{folder} is a file; it must be a folder.")
    with _hub(repo, endpoint) as hub, tempfile.TemporaryDirectory(prefix="lthpaper-pull-") as made:
        about = hub.HfApi(endpoint=endpoint).repo_info(repo, repo_type="dataset", revision=revision)
        got = Path(made) / "got"
        where = {"repo_type": "dataset", "revision": about.sha, "endpoint": endpoint, "local_dir": got}
        hub.snapshot_download(repo, allow_patterns=FILES, **where)
        scales = verified(got)
        for scale in scales:
            there, new = folder / scale, got / scale
            require(
                replace or not there.exists() or _same(there, new),
                f"{there} is there already and differs from {repo}; give --replace to download it anyway.",
            )
        for scale, files in scales.items():
            _install(got / scale, folder / scale, files)
    return Moved({scale: len(files) for scale, files in scales.items()}, about.sha)


def push(repo: str, folder: str | Path, message: str = "", endpoint: str | None = None) -> Moved:
    """Upload a folder of published results to a repository, which is created if it does not exist.

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

    Raises InputError if there are none, or a file of one is missing or damaged.
    """
    scales = {}
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        require(SCALE.fullmatch(path.parent.name) is not None, f"{_named(path)} lies in no scale's folder.")
        try:
            listed = Scale(path.parent).manifest["files"]
            for name, about in listed.items():
                content_at(path.parent / name, about["sha256"])
        except NewerFormat:
            raise
        except Damaged as error:
            raise InputError(
                f"{_named(error.path)} {error.how}: nothing was downloaded or uploaded."
            ) from error
        scales[path.parent.name] = [MANIFEST, *listed]
    require(bool(scales), f"There are no published results in {folder}: no folder of it has a {MANIFEST}.")
    return scales


def _same(one: Path, other: Path) -> bool:
    """Whether two scales have the same files, by their manifests. Raises Unreadable if that cannot be said
    now."""
    try:
        return Scale(one).manifest["files"] == Scale(other).manifest["files"]
    except Unreadable:
        raise
    except Damaged:
        return False


def _install(new: Path, there: Path, files: list[str]) -> None:
    """Install a checked scale; what was there is removed only when the whole new scale lies beside it."""
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
    """The module huggingface_hub; its errors become InputErrors that say what to do."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise InputError(
            "huggingface-hub, which talks to the hub, is not installed: pip install 'lthpaper[hub]'. "
            + OFFLINE
        ) from error
    require(repo.count("/") == 1, f"{repo!r} is no repository's name; it must be owner/name.")
    where = endpoint or constants.ENDPOINT
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
