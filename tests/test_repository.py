"""What a repository is expected to bring: CI, hooks, issue forms and metadata that agree with the project."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="the extra 'dev' is not installed")

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
FORMS = [p for p in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if p.name != "config.yml"]


def test_github_actions_call_what_a_fresh_clone_must_pass_and_nothing_else():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


def test_the_matrix_has_the_bounds_that_pyproject_states():
    text = (ROOT / "pyproject.toml").read_text()
    python = re.search(r'requires-python = ">=([\d.]+)"', text)[1]
    torch, vision = (re.search(rf'"{name}>=([\d.]+)"', text)[1] for name in ("torch", "torchvision"))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    rows = workflow["jobs"]["run"]["strategy"]["matrix"]["include"]
    assert {"python": python, "torch": f"torch=={torch}.* torchvision=={vision}.*"} in rows
    assert {"python": python, "torch": ""} in rows
    assert "--upgrade torch torchvision" in {row["torch"] for row in rows}  # the newest, whatever it is


def test_the_hooks_use_the_versions_of_the_lock():
    pins = set((ROOT / "requirements.lock").read_text().splitlines())
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    wanted = {pin for hook in local["hooks"] for pin in hook["additional_dependencies"]}
    assert {pin.partition("==")[0] for pin in wanted} == {"ruff", "nbstripout", "import-linter"}
    assert wanted <= pins


def test_a_gpu_trains_the_desktop_scale_apart_from_what_is_published(tmp_path):
    """Published runs have no weights: those trained again for them do not mix with those that were not."""
    python, said = tmp_path / "python", tmp_path / "said"
    python.write_text('#!/bin/bash\nIFS=\'|\'; echo "$PWD|$*" >>"$SAID"\n')
    python.chmod(0o755)
    asked = {"PYTHON": python, "OUT": tmp_path / "out", "SAID": said}
    asked |= {"STAGES": "desktop", "DESKTOP": "fig1", "DEVICE": "cpu"}
    subprocess.run([ROOT / ".ci" / "gpu"], env=os.environ | asked, check=True, capture_output=True)
    run, export = (line.split("|") for line in said.read_text().splitlines())
    assert run[1:6] == ["-m", "lthpaper", "run", "fig1", "--scale"]
    assert export[1:5] == ["-m", "lthpaper", "results", "export"]
    assert (ROOT / "results").is_dir()
    assert not (Path(run[0]) / "results").exists()
    stores = {words[words.index("--store") + 1] for words in (run, export)}
    assert stores == {str(tmp_path / "out" / "store")}


@pytest.mark.parametrize("form", FORMS, ids=lambda p: p.stem)
def test_an_issue_form_is_one_that_github_reads(form):
    read = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= set(read)
    ids = [field["id"] for field in read["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for field in read["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
        assert field["attributes"]["label"]


def test_there_are_issue_forms():
    assert {form.stem for form in FORMS} == {"bug", "idea", "wrong-result"}


def test_zenodo_says_what_the_citation_says():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    assert zenodo["title"] == CITATION["title"]
    assert zenodo["license"] == CITATION["license"]
    assert zenodo["keywords"] == CITATION["keywords"]
    assert [c["name"] for c in zenodo["creators"]] == [a["name"] for a in CITATION["authors"]]
    (paper,) = zenodo["related_identifiers"]
    assert paper["identifier"] in {i["value"] for i in CITATION["preferred-citation"]["identifiers"]}


def test_one_version_stands_everywhere():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert CITATION["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
