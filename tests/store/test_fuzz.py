"""Whatever is typed or read ends in a result or in one sentence: no traceback, no wrong result.

LTHPAPER_FUZZ_EXAMPLES=5000 (make fuzz) tries more.
"""

import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import numpy as np
import pytest
import typer
from crash_points import DENSE, SUB, filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, noise, write_parquet
from test_faults import DAMAGES, EXAMPLES, LONG

from lthpaper.cli import main as cli
from lthpaper.data import fashion_mnist, folders, parquet, tars
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.measures import surfaces
from lthpaper.networks import NETWORKS
from lthpaper.report import notebooks
from lthpaper.runs import digest as canonical
from lthpaper.runs.run import from_json, to_json
from lthpaper.runs.scales import SCALES, Scale
from lthpaper.studies import study


def tried(times: int = 1) -> settings:
    """So many times the examples of a short test; other ones every time where more were asked for."""
    # the folder of a test is shared by its examples on purpose: what one leaves, the next one meets
    shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=times * EXAMPLES, derandomize=not LONG, suppress_health_check=shared)


@pytest.fixture(autouse=True)
def _in_a_folder_of_the_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# --- every option of every command ---


def commands(command, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], list]:
    """The words of each command and its parameters, from typer itself."""
    if not hasattr(command, "commands"):
        return {path: command.params}
    below = [commands(inner, (*path, name)) for name, inner in command.commands.items()]
    return {words: params for found in below for words, params in found.items()}


COMMANDS = commands(typer.main.get_command(cli.app))
# no command may train here, execute a notebook, or wait for a cluster: these words come last, and hold
LAST = {
    ("run",): ["--time-limit", "0.001s", "--workers", "1", "--quiet"],
    ("figures",): ["--notebooks", "nowhere"],
    ("check",): ["--plan"],
    ("bench",): ["--size", "no such size"],
}
NEVER = {"--surfaces", "--help", "--on"}  # claims computes surfaces; a cluster is waited for

TEXTS = st.text(st.characters(blacklist_characters="/\0"), max_size=12)  # no absolute path is written to
UNDECODABLE = st.just(b"caf\xe9".decode(errors="surrogateescape"))
PLACES = st.sampled_from(
    ["store", "nowhere", "file", "file/below", "store/../store", "/dev/null", ".", "x" * 300]
)
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.floats(),
    st.sampled_from([10**30, -(10**30), 1e-300, 2**63, "1_0", "٣", "0x10", "1e3"]),
).map(str)
FIELDS = [*Scale.__dataclass_fields__, "name", "nothing", ""]
LISTS = st.lists(NUMBERS, max_size=3).map(",".join)
NAMES = [
    *FIGURES,
    *SCALES,
    *NETWORKS,
    "digits",
    "cpu",
    "cuda",
    "cosine",
    "bf16",
    "runs",
    "LT-IMP",
    DENSE.name,
    "*",
]
NAMES += [
    "nowhere:at_all",
    ":",
    "json:dumps",
    "builtins:print",
    "builtins:type",
    "math:pi",
    "json:JSONDecoder",
    "os:",
]
VALUES = st.one_of(TEXTS, UNDECODABLE, PLACES, NUMBERS, LISTS, st.sampled_from(NAMES))
PAIRS = st.builds("{}={}".format, st.sampled_from(FIELDS), VALUES)
FITTING = {  # so that not everything is refused at the first word
    "figures": st.sampled_from(list(FIGURES)),
    "names": st.sampled_from(list(FIGURES)),
    "scale": st.sampled_from(["smoke", "smoke", "laptop", "paper"]),
    "changes": PAIRS,
    "store": st.sampled_from(["store", "store", "file"]),
    "other": PLACES,
    "folder": PLACES,
    "device": st.sampled_from(["cpu", "auto"]),
    "network": st.sampled_from([*NETWORKS, "nowhere:at_all", "json:dumps", "math:pi"]),
    "only": st.sampled_from(["*", DENSE.name, "[", "*" * 50 + "x"]),
}


@st.composite
def lines(draw) -> list[str]:
    """The words of a command line."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    words, free = [*command], []
    for parameter in COMMANDS[command]:
        options = [o for o in parameter.opts if o.startswith("-")]
        if NEVER & set(options) or (draw(st.integers(0, 2)) == 0 and (options or not parameter.required)):
            continue
        for _ in range(draw(st.integers(1, 2)) if parameter.multiple or parameter.nargs == -1 else 1):
            fitting = FITTING.get(parameter.name, VALUES) if draw(st.integers(0, 3)) else VALUES
            if getattr(parameter, "is_flag", False):
                words.append(draw(st.sampled_from(options)))
            elif options:
                words += [draw(st.sampled_from(options)), draw(fitting)]
            else:
                free.append(draw(fitting))
    if draw(st.integers(0, 9)) == 0:
        words.append(draw(VALUES))
    words += ["--store", "store"] if "--yes" in words and draw(st.booleans()) else []
    words += LAST.get(command, [])
    return words + (["--", *free] if any(word.startswith("-") for word in free) else free)


def typed(words: list[str]) -> tuple[object, str]:
    """The status of a command line, and what it says on both streams, which take UTF-8 and nothing else."""
    sys.argv = ["lthpaper", *words]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    status: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        out.flush(), err.flush()
    return status, (out.buffer.getvalue() + err.buffer.getvalue()).decode()


@tried()
@given(line=lines())
def test_every_command_line_ends_in_a_documented_status_without_a_traceback(monkeypatch, line):
    monkeypatch.setattr(sys, "argv", [])
    if not Path("store").exists():
        filled(Path("store").resolve())
        Path("file").write_text("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of absurd networks
        status, said = typed(line)
    assert status in (0, 1, 2, 75), said
    assert "Traceback" not in said
    assert said or "--quiet" in line


def test_the_fuzz_knows_every_command_and_would_meet_a_traceback(monkeypatch):
    assert {("plan",), ("run",), ("list",), ("check",), ("store", "merge"), ("store", "prune")} <= set(
        COMMANDS
    )
    assert set(LAST) <= set(COMMANDS)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(cli, "_sentence", lambda error: ("", 1))
    with pytest.raises(InputError):
        typed(["plan", "no such figure"])


# --- the parameters of the notebooks ---

NOTEBOOKS = sorted((Path(notebooks.__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def known() -> dict[Path, dict]:
    pytest.importorskip("papermill", reason="the extra 'notebooks' is not installed")
    return {path: notebooks.parameters(path) for path in NOTEBOOKS}


@tried(5)
@given(which=st.integers(0, 1000), name=st.integers(0, 1000), text=st.one_of(VALUES, TEXTS, st.text()))
def test_a_notebooks_parameter_becomes_what_was_typed_and_nothing_else_in_the_cell(known, which, name, text):
    from papermill.translators import papermill_translators

    path = NOTEBOOKS[which % len(NOTEBOOKS)]
    declared = known[path]
    chosen = sorted(declared)[name % len(declared)]
    kind = declared[chosen]["inferred_type_name"]
    try:
        value = notebooks._value(chosen, kind, text)
    except InputError as refused:
        assert "Parameter" in str(refused)  # noqa: PT017  what else may come out is a value
        return
    assert type(value) is notebooks.TYPES[kind]
    values: dict[str, object] = {}
    exec(papermill_translators.find_translator("python3", "python").codify({chosen: value}), values)
    values.pop("__builtins__")
    assert set(values) == {chosen}
    assert repr(values[chosen]) == repr(value)  # NaN is not equal to itself


@tried()
@given(fields=st.dictionaries(st.sampled_from(FIELDS[:-1]), VALUES, max_size=3))
def test_a_page_takes_any_text_for_any_field_or_says_what_is_wrong(fields):
    with suppress(InputError):
        page = study(
            "fig1", "smoke", device="cpu", **{n: v for n, v in fields.items() if n not in ("name", "nothing")}
        )
        assert isinstance(page.scale, Scale)


# --- every format that is read ---


def mutated(content: bytes, damages, seed: int) -> bytes:
    chance = random.Random(seed)
    for damage in damages:
        content = damage(content, chance) if content else content
    return content


DAMAGED = st.tuples(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=3), st.integers(0, 2**32))
PIXELS = noise(6, 8)


def write_idx(path: Path) -> str:
    raw = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (6, 8, 8)) + PIXELS[..., 0].tobytes()
    path.write_bytes(gzip.compress(raw, mtime=0))
    return hashlib.md5(raw).hexdigest()


@tried(4)
@given(damage=DAMAGED)
def test_an_idx_file_is_what_was_published_or_refused(damage):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.gz"
        md5 = write_idx(path)
        path.write_bytes(mutated(path.read_bytes(), *damage))
        with suppress(InputError):
            assert np.array_equal(fashion_mnist.read_idx(path, md5).numpy(), PIXELS[..., 0])


@tried(4)
@given(damage=DAMAGED)
def test_a_parquet_file_gives_images_of_its_size_or_is_refused(damage):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train-00000-of-00001.parquet"
        write_parquet(path, PIXELS, list(range(6)), "label", "abcdef")
        path.write_bytes(mutated(path.read_bytes(), *damage))
        with suppress(InputError):
            found = parquet.files(Path(folder), "train", "img", classes="abcdef", most=100).decoded(8, 3)
            assert found.test.shape[1:] == (8, 8, 3)
            assert len(found.test) == len(found.test_labels) <= 100


@tried(4)
@given(damage=DAMAGED, kind=st.sampled_from(["PNG", "JPEG"]))
def test_class_folders_give_images_of_their_size_or_name_the_one_that_is_damaged(damage, kind):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            (folder / part / "a").mkdir(parents=True)
            (folder / part / "a" / "0.png").write_bytes(encoded(PIXELS[0], kind))
        (folder / "train" / "a" / "1.png").write_bytes(mutated(encoded(PIXELS[1], kind), *damage))
        try:
            images = folders.read(folder, 8, 3)
        except InputError as said:
            assert "1.png" in str(said)  # noqa: PT017  what else may come out is the images
        else:
            assert getattr(images, "train_labels").tolist() == [0, 0]  # noqa: B009  decoded, or in files


@tried(4)
@given(damage=DAMAGED)
def test_a_shard_gives_stretches_of_itself_or_is_refused(damage):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train-0.tar"
        with tarfile.open(path, "w") as tar:
            for i in range(3):
                for suffix, content in (("jpg", encoded(PIXELS[i], "JPEG")), ("cls", b"%d" % i)):
                    member = tarfile.TarInfo(f"{i}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        path.write_bytes(mutated(path.read_bytes(), *damage))
        with suppress(InputError):
            found, labels = tars.read([path])
            assert len(found) == len(labels)
            assert all(len(found[i][1]) == found.sizes[i] for i in range(len(found)))


@tried(4)
@given(damage=DAMAGED)
def test_a_surface_is_taken_up_only_for_its_own_key_and_points(damage):
    points = np.arange(8.0).reshape(4, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surface.npz"
        surfaces._save(path, "key", points, np.ones(4), np.array([True, True, False, False]))
        path.write_bytes(mutated(path.read_bytes(), *damage))
        loss, done = surfaces._resume(path, "key", points)
        assert loss.shape == done.shape == (4,)
        assert set(loss[done]) <= {1.0}  # zip's own checksums: no other value comes back


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@tried(10)
@given(st.lists(st.tuples(st.integers(0, 10**6), JSON), min_size=1, max_size=3), st.booleans())
def test_a_description_with_any_values_is_its_own_run_or_refused(changes, renamed):
    document = json.loads(json.dumps(to_json(SUB)))
    for place, value in changes:
        holders = [document, *document["runs"].values()]
        holders += [part for described in document["runs"].values() for part in described.values()]
        holders = [h for h in holders if isinstance(h, dict) and h]
        chosen = holders[place % len(holders)]
        key = sorted(chosen)[place % len(chosen)]
        chosen[key] = value
        if not isinstance(document.get("runs"), dict) or not all(
            isinstance(d, dict) for d in document["runs"].values()
        ):
            break
    if renamed and isinstance(document["runs"], dict) and SUB.digest in document["runs"]:
        with suppress(ValueError):  # NaN has no digest
            digest = canonical.digest(document["runs"][SUB.digest])
            document = {"digest": digest, "runs": document["runs"] | {digest: document["runs"][SUB.digest]}}
            if digest != SUB.digest:
                del document["runs"][SUB.digest]
    try:
        run = from_json(document)
    except InputError:
        return
    assert run.digest == document["digest"]
    assert run.digest in run.name
    assert "/" not in run.name
