"""What a stranger's files can do here: be refused. They run no code, import nothing, write nothing elsewhere,
block no reader, and allocate no more memory than their size justifies."""

import ast
import copy
import gzip
import hashlib
import io
import json
import math
import os
import resource
import signal
import struct
import sys
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import encoded, noise
from safetensors.torch import save_file
from test_merge_and_prune import lthpaper, outcomes, put, rewrite, statuses
from test_store import DENSE, SUB, everything_in, result_of

from lthpaper.data import archives, decode, fashion_mnist, parquet, tars
from lthpaper.errors import InputError
from lthpaper.measures import surfaces
from lthpaper.runs import digest as canonical
from lthpaper.runs.run import from_json, to_json
from lthpaper.store import check, checkpoints, prune
from lthpaper.store import entry as entries
from lthpaper.store.entry import MASK, RESULT, RUN, WEIGHTS, file_checksum
from lthpaper.store.store import Store

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("in_a_folder_of_the_test")


@pytest.fixture
def _no_waiting():
    """Whoever waits for a pipe to be written to is interrupted, and the test fails."""

    def waited(*_):
        raise AssertionError("something was waited for that never comes")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def _little_memory():
    """No more than 2 GB beyond what this process has: a larger wish is refused, as on a small machine."""
    if sys.platform != "linux":
        pytest.skip("it reads /proc, and only Linux keeps to such a limit")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# --- no code is read ---

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "os.system", "os.popen", "np.loads"}
FORBIDDEN_CALLS |= {"pd.read_pickle", "pandas.read_pickle", "torch.jit.load", "torch.hub.load"}


def sources() -> dict[str, str]:
    """Every piece of Python of the project, notebooks too."""
    found = {str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / "lthpaper").rglob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    return found


def dangers(source: str) -> list[str]:
    """What in a source could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS:
                found.append(called)
            for keyword in node.keywords:
                allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("allow_pickle", "shell", "trust_remote_code") and not allowed:
                    found.append(f"{called}({keyword.arg}=…)")
    return found


def test_no_code_of_ours_reads_pickles_or_runs_text():
    # torchvision unpickles CIFAR's batches after their published checksums (test_data_cifar), and
    # processes.py what its own processes say to each other, as multiprocessing does; no file's content
    # goes that way
    assert len(sources()) > 80
    found = {name: dangers(text) for name, text in sources().items()}
    assert {name: danger for name, danger in found.items() if danger} == {
        "lthpaper/sweep/processes.py": ["pickle"]
    }


DANGEROUS = ["import pickle", "from joblib import load", "torch.load(f)", "eval(x)", "import os, dill"]
DANGEROUS += ["yaml.load(f)", "subprocess.run(x, shell=True)", "np.load(f, allow_pickle=maybe)"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_such_code_would_be_seen(text):
    assert dangers(text)


# --- names of a stranger's run ---

TRAPS = [
    {"network": "trap:it", "architecture": "0" * 16},
    {"network": "trap:it"},
    {"data": "trap:it"},
    {"network": "trap:it", "architecture": "0" * 16, "data": "trap:it"},
    {"data": "shutil:rmtree"},
    {"network": "os:abort", "architecture": "0" * 16},
    {"network": "os:abort"},
]


def described_as(entry: Path, changes: dict) -> Path:
    """The entry of a sound description of another task, as a stranger could make one."""
    described = json.loads((entry / RUN).read_text())["runs"][DENSE.digest]
    described["task"] |= changes
    named = canonical.digest(described)
    (entry / RUN).write_text(json.dumps({"digest": named, "runs": {named: described}}))
    files = json.loads((entry / RESULT).read_text())["files"]
    rewrite(entry, files=files | {RUN: file_checksum(entry / RUN)})
    parts = (described["task"][what].rpartition(":")[2] for what in ("network", "data"))
    return entry.rename(entry.with_name(f"{'-'.join(parts)}-{named}"))


@pytest.mark.parametrize("changes", TRAPS, ids=str)
def test_no_name_in_a_strangers_store_is_imported_or_called(store, other, monkeypatch, capsys, changes):
    Path("trap.py").write_text("open('sprung', 'w')\ndef it(*_, **__):\n    open('called', 'w')\n")
    Path("data").mkdir()  # what `shutil:rmtree` would be called with
    put(other, DENSE)
    folder = described_as(other.path(DENSE), changes)
    imported = set(sys.modules)
    for words in (
        ["store", "verify", "--store", "other"],
        ["store", "merge", "other", "--store", "store"],
        ["store", "export", "exported", "--store", "other"],
        ["list", "runs", "--store", "store"],
        ["list", "runs", "--store", "other"],
        ["store", "prune", "--weights", "--store", "other"],
        ["store", "repair", "--foreign", "--dry-run", "--store", "other"],
    ):
        assert lthpaper(monkeypatch, *words) in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert not os.path.lexists("sprung")
    assert not os.path.lexists("called")
    assert Path("data").is_dir()
    assert "trap" not in set(sys.modules) - imported
    assert folder.exists()


def test_a_description_of_ones_own_network_is_read_without_the_network():
    document = copy.deepcopy(to_json(DENSE))
    described = document["runs"][DENSE.digest]
    described["task"] |= {"network": "nowhere:at_all", "architecture": "0" * 16, "data": "nowhere:either"}
    named = canonical.digest(described)
    run = from_json({"digest": named, "runs": {named: described}})
    assert run.digest == named
    with pytest.raises(InputError, match="cannot be imported"):
        run.task.verify()  # whoever trains it must have it


def test_a_description_that_names_itself_as_its_ancestor_or_lacks_one_is_refused():
    document = copy.deepcopy(to_json(SUB))
    document["runs"][SUB.digest]["mask"]["after"] = {"run": SUB.digest}
    with pytest.raises(InputError, match="its own ancestor"):
        from_json(document)
    document["runs"][SUB.digest]["mask"]["after"] = {"run": "0" * 16}
    with pytest.raises(InputError, match="are missing"):
        from_json(document)


NAMES = ["..", "../x-0123456789abcdef", ".hidden-0123456789abcdef", "a b-0123456789abcdef", "x" * 300]


def test_only_folders_with_an_entrys_name_are_looked_into(store, other):
    put(other, DENSE)
    for name in NAMES[2:4]:
        (other.folder / name).mkdir()
        (other.folder / name / RESULT).write_text("{}")
    assert statuses(other) == {DENSE.name: "good"}
    assert outcomes(other.folder, store) == {DENSE.name: "added"}
    for name in NAMES:
        assert not entries.ENTRY.fullmatch(name)


def test_control_characters_of_a_strangers_names_do_not_reach_the_terminal(store, monkeypatch, capsys):
    put(store, DENSE)
    (store.path(DENSE) / "\x1b]0;owned\x07\x1b[2J").write_text("")
    document = json.loads((store.path(DENSE) / RUN).read_text()) | {"digest": "\x1b[31m"}
    (store.path(DENSE) / RUN).write_text(json.dumps(document))
    files = json.loads((store.path(DENSE) / RESULT).read_text())["files"]
    rewrite(store.path(DENSE), files=files | {RUN: file_checksum(store.path(DENSE) / RUN)})
    assert lthpaper(monkeypatch, "store", "verify", "--store", "store") == 1
    assert lthpaper(monkeypatch, "list", "runs", "--store", "store") == 2
    assert "\x1b" not in "".join(capsys.readouterr())


# --- files that are none ---


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("kind", ["pipe", "link", "link to nothing", "link to a device", "folder"])
@pytest.mark.parametrize("file", [RESULT, RUN, WEIGHTS, MASK, "epoch-0001"])
def test_what_lies_in_place_of_a_file_is_neither_waited_for_nor_followed(store, other, tmp_path, file, kind):
    put(store, SUB, snapshots=(1,))
    (path,) = store.path(SUB).glob(f"{file}*")
    elsewhere = path.replace(tmp_path / "elsewhere")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to({"link": elsewhere, "link to a device": "/dev/zero"}.get(kind, "nowhere"))
    assert "damaged" in {checked.status for checked in check.check_store(store)}
    assert outcomes(store.folder, other) == {SUB.name: "refused"}
    with pytest.raises(InputError, match="cannot be trusted"):
        store.get(SUB), store.weights(SUB), store.weights(SUB, 1), list(store)
    prune.repair(store)
    assert elsewhere.exists()
    assert statuses(store) == ({SUB.name: "good"} if file == "epoch-0001" else {})


def test_an_entry_that_is_a_link_is_refused_and_what_it_points_to_stays(store, other, tmp_path):
    put(store, DENSE)
    put(other, SUB)
    before = everything_in(other)
    (store.folder / SUB.name).symlink_to(other.path(SUB))
    assert statuses(store) == {DENSE.name: "good", SUB.name: "damaged"}
    with pytest.raises(InputError, match="is a link"):
        store.get(SUB)
    assert outcomes(store.folder, Store(tmp_path / "third"))[SUB.name] == "refused"
    prune.remove(store, prune.removals(store, weights=True, orphans=True))
    prune.remove(store, prune.removals(store, "*" + SUB.digest, entries=True))
    assert not os.path.lexists(store.path(SUB))
    assert everything_in(other) == before


def test_a_link_left_beside_a_result_is_not_written_through(store, tmp_path):
    put(store, DENSE)
    (tmp_path / "victim").write_text("mine")
    for name in (f".{RESULT}", "notes"):
        (store.path(DENSE) / name).symlink_to(tmp_path / "victim")
    prune.remove(store, prune.removals(store, weights=True, orphans=True))
    assert (tmp_path / "victim").read_text() == "mine"
    assert statuses(store) == {DENSE.name: "weights left out"}


def test_descriptions_larger_than_any_are_not_read(store, other):
    put(other, DENSE)
    for name in (RESULT, RUN):
        with open(other.path(DENSE) / name, "r+b") as f:
            f.truncate(2**40)  # a hole: no disk is needed for it
        assert statuses(other) == {DENSE.name: "damaged"}
        assert outcomes(other.folder, store) == {DENSE.name: "refused"}
        with pytest.raises(InputError, match="larger than any description"):
            other.get(DENSE)


# --- numbers that are none ---

NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "true", '"7"', "[1]"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:8])
@pytest.mark.parametrize("field", ["kept", "sparsity", "seconds", "curves"])
def test_a_result_holds_numbers_that_a_float_can_be(store, monkeypatch, capsys, field, number):
    put(store, DENSE)
    path = store.path(DENSE) / RESULT
    result = json.loads(path.read_text())
    value = json.loads(number)
    result[field] = (
        {"test_accuracy": [value], "train_loss": [1], "test_loss": [1]} if field == "curves" else value
    )
    result["checksum"] = entries.checksum(result)
    path.write_text(json.dumps(result).replace('"1e999"', "1e999"))
    assert statuses(store) == {DENSE.name: "damaged"}
    assert lthpaper(monkeypatch, "list", "runs", "--store", "store") == 2
    assert "cannot be trusted" in capsys.readouterr().err


@pytest.mark.parametrize("depth", [100, 900, 2_000, 200_000])
@pytest.mark.parametrize("file", [RESULT, RUN])
def test_deep_nesting_is_damage_and_no_end_of_the_stack(store, monkeypatch, file, depth):
    put(store, DENSE)
    nested = "[" * depth + "]" * depth
    (store.path(DENSE) / file).write_text(
        f'{{"format": 1, "digest": "x", "runs": {{"x": {nested}}}, "y": 1}}'
    )
    if file == RUN:
        files = json.loads((store.path(DENSE) / RESULT).read_text())["files"]
        rewrite(store.path(DENSE), files=files | {RUN: file_checksum(store.path(DENSE) / RUN)})
    assert statuses(store) == {DENSE.name: "damaged"}
    assert lthpaper(monkeypatch, "list", "runs", "--store", "store") == 2


# --- tensors ---


def tensor_file(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file, its header as given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype="F32", shape=(1,), offsets=(0, 4)) -> dict:
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


TENSOR_FILES = {
    "a header of 2^60 bytes": tensor_file(b"{}", length=2**60),
    "a shape of 2^60": tensor_file(one(shape=(2**60,), offsets=(0, 2**62)), bytes(4)),
    "a shape that overflows": tensor_file(one(shape=(2**33, 2**33), offsets=(0, 4)), bytes(4)),
    "none of very many": tensor_file(one(shape=(0, 2**62, 2**62), offsets=(0, 0))),
    "offsets beyond the end": tensor_file(one(offsets=(2**40, 2**40 + 4)), bytes(4)),
    "offsets backwards": tensor_file(one(offsets=(4, 0)), bytes(4)),
    "an unknown kind": tensor_file(one(dtype="F4096"), bytes(4)),
    "negative": tensor_file(one(shape=(-1,), offsets=(0, 4)), bytes(4)),
    "deep": tensor_file(b"[" * 100_000),
    "not text": tensor_file(b"\xff\xfe" * 20),
    "another file": b"\x80\x04cposix\nsystem\n(Vtrue\ntR.",
}
HARMLESS = "none of very many"  # it may be read, as the nothing that it holds


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("name", TENSOR_FILES)
def test_tensors_that_a_files_size_does_not_bear_out_are_damage(store, other, name):
    put(other, SUB)
    folder = other.path(SUB)
    files = json.loads((folder / RESULT).read_text())["files"]
    for file in (WEIGHTS, MASK):
        (folder / file).write_bytes(TENSOR_FILES[name])
        files |= {file: file_checksum(folder / file)}
    rewrite(folder, files=files)
    assert statuses(other) == {SUB.name: "damaged"}
    assert outcomes(other.folder, store) == {SUB.name: "refused"}
    with pytest.raises(InputError):
        entries.load_mask(folder, files)
    with suppress(InputError) if name == HARMLESS else pytest.raises(InputError, match="holds no weights"):
        held = entries.load_weights(folder / WEIGHTS).values()
        assert [t.numel() for t in held] == [0]
    path = checkpoints.Checkpoints(other.folder).path(SUB)
    path.parent.mkdir()
    path.write_bytes(TENSOR_FILES[name])
    assert checkpoints.Checkpoints(other.folder).position(SUB) == (0, 0)
    assert checkpoints.Checkpoints(other.folder).load(SUB, "abc") is None


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize(
    "shape",
    [
        [-1],
        [2**40],
        [2**31, 2**31],
        [10**30],
        [1.0],
        ["9"],
        "99",
        None,
        {"0": 9},
        [0],
        [True],
        [math.inf],
        [8] * 70,
    ],
    ids=str,
)
def test_a_mask_of_another_size_than_its_bits_is_damage(tmp_path, shape):
    packed = {"w": torch.zeros(2, dtype=torch.uint8)}
    for metadata in ({entries.SHAPES: json.dumps({"w": shape})}, {"w": json.dumps(shape)}, None):
        save_file(packed, tmp_path / MASK, metadata=metadata)
        with pytest.raises(InputError, match="holds no mask"):
            entries.load_mask(tmp_path, {MASK: file_checksum(tmp_path / MASK)})


def test_weights_and_masks_of_another_network_do_not_come_in_whatever_their_checksums(store, other):
    for file in (WEIGHTS, MASK):
        put(other, SUB)
        folder = other.path(SUB)
        files = json.loads((folder / RESULT).read_text())["files"]
        save_file({"w": torch.zeros(3, dtype=torch.uint8)}, folder / file, metadata={"shapes": '{"w": [24]}'})
        rewrite(folder, files=files | {file: file_checksum(folder / file)})
        assert outcomes(other.folder, store) == {SUB.name: "refused"}
        folder.rename(other.folder / "aside")
        (other.folder / "aside").rename(other.folder.parent / f"aside {file}")


# --- surfaces: npz ---


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("kind", ["absurd shape", "objects", "other shape", "zeros that swell", "no zip"])
def test_a_surface_of_a_stranger_is_computed_anew(tmp_path, kind):
    file, points = tmp_path / "surface.npz", np.zeros((4, 2))
    good = {"key": np.array("k"), "points": points, "loss": np.ones(4), "done": np.ones(4, bool)}
    match kind:
        case "absurd shape":
            np.savez(file, **good)
            content = file.read_bytes()
            assert content.count(b"(4,), }") == 2
            file.write_bytes(content.replace(b"(4,), }       ", b"(4" + b"0" * 7 + b",), }"))
        case "objects":
            np.savez(file, **good | {"loss": np.array([print] * 4, dtype=object)}, allow_pickle=True)
        case "other shape":
            np.savez(file, **good | {"loss": np.ones(3), "done": np.ones((4, 4), bool)})
        case "zeros that swell":
            np.savez_compressed(file, **good | {"loss": np.zeros(2**22)})
        case "no zip":
            file.write_bytes(b"PK\x03\x04" + bytes(100))
    loss, done = surfaces._resume(file, "k", points)
    assert (loss.shape, done.shape, done.dtype) == ((4,), (4,), bool)
    assert not done.any()


# --- archives and pictures ---


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for member in members:
            info, data = (member, b"") if isinstance(member, tarfile.TarInfo) else (None, member[1])
            info = info or tarfile.TarInfo(member[0])
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
)
def test_an_archive_puts_nothing_but_the_wanted_plain_files_beside_itself(tmp_path, kind):
    evil = (
        "../evil",
        "/evil",
        "folder/../../evil",
        "folder/link/evil",
        "folder//wanted2",
        "./folder/wanted3",
    )
    linked = special("folder/link", kind, "..")
    content = tar_of(linked, ("folder/wanted", b"good"), *((name, b"bad") for name in evil))
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "archive.tar.gz"
    archive.write_bytes(content)
    archives.extract(archive, hashlib.md5(content).hexdigest(), "folder", {"wanted"})
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert names == ["in", "in/archive.tar.gz", "in/folder", "in/folder/wanted"]
    content = tar_of(special("folder/wanted", kind, "../../victim"))
    archive.write_bytes(content)
    with pytest.raises(InputError, match="is not a plain file"):
        archives.extract(archive, hashlib.md5(content).hexdigest(), "folder", {"wanted"})


def test_shards_with_members_that_are_no_files_or_lie_about_themselves_are_refused(tmp_path):
    shard = tmp_path / "train-0.tar"

    def refused(*members: tarfile.TarInfo | tuple[str, bytes], unpacked: bool = True) -> str:
        content = tar_of(*members)
        shard.write_bytes(gzip.decompress(content) if unpacked else content)
        with pytest.raises(InputError) as said:
            tars.read([shard])
        return str(said.value)

    assert "not a plain file" in refused(special("../a.jpg", tarfile.SYMTYPE, "/etc/passwd"))
    assert "not a plain file" in refused(special("a.jpg", tarfile.LNKTYPE, "b.jpg"))
    assert "not a whole tar file" in refused(("a.jpg", b"x"), ("a.cls", b"0"), unpacked=False)
    assert "expected the number of a class" in refused(("a.jpg", b"x"), ("a.cls", b"-1"))
    assert "expected the number of a class" in refused(("a.jpg", b"x"), ("a.cls", b"9" * 19))
    lying = special("a.jpg", tarfile.REGTYPE)
    lying.size = 2**40
    shard.write_bytes(lying.tobuf() + bytes(1024))
    with pytest.raises(InputError, match=r"cut off|not a whole tar"):
        tars.read([shard])


def idx(*shape: int, data: bytes = b"") -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + data


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize(
    "raw",
    [
        idx(2**31, 28, 28),
        idx(2**32 - 1),
        idx(3, data=b"12"),
        idx(2, data=b"123"),
        b"",
        b"\0\0\x08\xff",
        idx(),
    ],
    ids=lambda raw: raw[:16].hex(),
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_header_that_its_content_does_not_bear_out_is_refused(tmp_path, raw, packed):
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(InputError):
        fashion_mnist.read_idx(path, hashlib.md5(raw).hexdigest())


@pytest.mark.usefixtures("_little_memory")
def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    squeezed = zlib.compressobj(1, zlib.DEFLATED, 31)
    part = squeezed.compress(bytes(2**26)) + squeezed.flush(zlib.Z_FULL_FLUSH)
    repeated = zlib.compressobj(1, zlib.DEFLATED, -15)
    again = repeated.compress(bytes(2**26)) + repeated.flush(zlib.Z_FULL_FLUSH)
    content = part + again * 63  # 4 GB in 19 MB
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not the published file"):
        fashion_mnist.read_idx(path, "0" * 32)


def png(width: int, height: int, data: bytes = b"", *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", data or zlib.compress(bytes(10))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


TEXT_BOMB = (b"zTXt", b"comment\0\0" + zlib.compress(bytes(2**28), 9))
PICTURES = {
    "many pixels": png(2**31 - 1, 2**31 - 1),
    "as many as Pillow warns of": png(12_000, 8_000),
    "a line": png(1, 80_000_000),
    "a text that swells": png(8, 8, zlib.compress(bytes(8 * 25)), TEXT_BOMB),
    "data that swells": png(8, 8, zlib.compress(bytes(2**28), 9)),
    "cut off": encoded(noise(1, 8)[0])[:60],
    "a jpeg of 65,535 by 65,535": encoded(noise(1, 8)[0], "JPEG").replace(
        b"\x00\x08\x00\x08\x03", b"\xff\xff\xff\xff\x03", 1
    ),
}
AS_IT_SAYS = "data that swells"  # it may be read: no more of it than the picture's size asks for


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(name):
    for look in (lambda data: decode.pixels("p", data, 8, 3), lambda data: decode.photograph("p", data, 256)):
        refused = pytest.raises(InputError, match="The image p is")
        with suppress(InputError) if name == AS_IT_SAYS else refused:
            assert np.asarray(look(PICTURES[name])).shape == (8, 8, 3)


def parquet_of(path: Path, rows: int = 3) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": encoded(image), "path": "../../x"} for image in noise(rows)], kind)
    pq.write_table(pa.table({"img": images, "label": pa.array([0] * rows)}), path)


def test_a_parquet_file_that_swells_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "train-00000-of-00001.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": bytes(2**22), "path": None}], kind)
    pq.write_table(pa.table({"img": images, "label": [0]}), path, compression="zstd")
    assert path.stat().st_size < 2**14
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 2**20)
    with pytest.raises(InputError, match="row group of 4,194,"):
        parquet.files(tmp_path, "train", "img")


def test_a_path_in_a_parquet_file_is_not_followed(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    parquet_of(path)
    assert len(parquet.files(tmp_path, "train", "img").decoded(32, 3).train) == 3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_is_not_carried_to_another_store(store, other):
    put(other, DENSE)
    for folder in (checkpoints.FOLDER, ".locks", ".logs"):
        (other.folder / folder).mkdir()
        (other.folder / folder / f"{SUB.name}.safetensors").write_text("anything")
    assert outcomes(other.folder, store) == {DENSE.name: "added"}
    assert [p.name for p in store.folder.iterdir()] == [DENSE.name]
    assert statuses(other) == {DENSE.name: "good", f"{checkpoints.FOLDER}/{SUB.name}.safetensors": "damaged"}
    assert [result_of(DENSE).run] == [result.run for result in other]
