"""Download and unpack published files: whole or not at all, and verified before anything in them is read."""

import errno
import hashlib
import shlex
import shutil
import socket
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError

from tqdm.auto import tqdm

from lthpaper.errors import InputError

TIMEOUT = 60  # seconds without a byte
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second try and each one after


def md5(path: Path) -> str:
    """MD5 of a file: the checksum that these data sets were published with."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check(archive: Path, checksum: str) -> None:
    """Raise InputError unless an archive has this MD5."""
    found = md5(archive)
    if found != checksum:
        raise InputError(
            f"{archive} is incomplete or not the published archive (MD5 {found}, expected {checksum}): "
            "download it again."
        )


def download(url: str, path: Path, checksum: str) -> None:
    """Download url to path unless a file with this MD5 lies there already.

    A connection that breaks off is made again, after WAITS, and goes on where it ended if the server can.
    Raises InputError if it cannot be downloaded or is not the published file; path is then untouched.
    """
    if path.is_file() and md5(path) == checksum:
        return
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")  # the folder may be shared by machines
    tries = 0
    try:
        for wait in (*WAITS, None):
            tries += 1
            try:
                _fetch_rest(url, part, path.name)
                break
            except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
                if wait is None or not _may_pass(error):
                    raise
                said = f"lthpaper: {url}: {_said(error)}; trying again in {wait:g} s"
                tqdm.write(said, file=sys.stderr)
                time.sleep(wait)
        found = md5(part)
        if found != checksum:
            raise InputError(
                f"{url} is not the published file (MD5 {found}, expected {checksum}); try again or fetch "
                f"it by other means to {path}."
            )
        part.replace(path)
    except (OSError, HTTPException) as error:
        tried = "1 try" if tries == 1 else f"{tries} tries"
        by_hand = shlex.join(["curl", "--create-dirs", "-L", "-o", str(path), url])
        raise InputError(
            f"{url} could not be downloaded to {path} in {tried} ({_said(error)}); try again or fetch it by "
            f"other means, such as `{by_hand}`: a file there with MD5 {checksum} is used."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _fetch_rest(url: str, part: Path, name: str) -> None:
    """Append to part what it lacks of url; write it anew if the server does not send a rest."""
    have = part.stat().st_size if part.exists() else 0
    asked = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(asked, timeout=TIMEOUT) as source:
        if getattr(source, "status", None) != HTTPStatus.PARTIAL_CONTENT:
            have = 0
        part.parent.mkdir(parents=True, exist_ok=True)
        rest = getattr(source, "length", None)
        size = None if rest is None else have + rest
        bar = {"total": size, "initial": have, "desc": name, "disable": None, "leave": False}
        with open(part, "ab" if have else "wb") as target, tqdm.wrapattr(source, "read", **bar) as shown:
            shutil.copyfileobj(shown, target, 1 << 20)
        if getattr(source, "length", None):  # what is still to come
            raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {size:,} bytes")


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed: the connection failed or broke off, or the server is overloaded."""
    if isinstance(error, HTTPError):
        return error.code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or error.code >= 500
    why = error.reason if isinstance(error, URLError) else error
    broken = (ConnectionError, TimeoutError, HTTPException, socket.gaierror, ssl.SSLError)
    unreachable = isinstance(why, OSError) and why.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return unreachable or (isinstance(why, broken) and not isinstance(why, ssl.SSLCertVerificationError))


def _said(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def extract(archive: Path, checksum: str, folder: str, files: Collection[str]) -> None:
    """Unpack `folder`/`files` of a .tar.gz beside it; other members of the archive are ignored.

    Member names are only compared, never used as paths, and links are refused, so nothing is written outside
    the new folder, which appears whole or not at all.
    Raises InputError if the archive has another MD5, lacks a file or cannot be unpacked here.
    """
    check(archive, checksum)
    wanted = {str(PurePosixPath(folder, name)): name for name in files}
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{folder}-") as scratch:
            beside = Path(scratch, folder)
            beside.mkdir()
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    name = wanted.get(member.name)
                    if name is None:
                        continue
                    if not member.isreg():
                        raise InputError(
                            f"{member.name} in {archive} is not a plain file: download it again."
                        )
                    with open_member(tar, member) as source, open(beside / name, "wb") as target:
                        shutil.copyfileobj(source, target)
                    del wanted[member.name]
            if wanted:
                raise InputError(f"{archive} lacks {', '.join(sorted(wanted))}: download it again.")
            if not (archive.parent / folder).exists():  # another process may have unpacked it meanwhile
                beside.rename(archive.parent / folder)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(
            f"{archive} could not be unpacked beside itself ({error}); unpack it by hand."
        ) from error


def open_member(tar: tarfile.TarFile, member: tarfile.TarInfo | str) -> IO[bytes]:
    """Open a plain file of an archive. Raises KeyError if it is missing or not a plain file."""
    opened = tar.extractfile(member)
    if opened is None:
        raise KeyError(f"{member} is not a plain file")
    return opened
