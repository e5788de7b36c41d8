"""A docstring names functions, classes and arguments that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    path.relative_to(ROOT): ast.parse(path.read_text())
    for package in ("lthpaper", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
}
NAME = re.compile(r"(?<!`)`((?:lth\.)?[A-Za-z_][\w.]*)(?:\([^`\n]*\))?`(?!`)")
FILE = re.compile(r".*\.(py|md|json|jpg|cls|parquet|safetensors)")
ELSEWHERE = {"width_per_group"}  # an argument of torchvision's


def names_in(tree: ast.AST) -> set[str]:
    """Every name that the code uses or defines, and every one-word text: columns, options, settings."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.arg(arg=str(name)) | ast.keyword(arg=str(name)) | ast.Name(id=name):
                found.add(name)
            case ast.alias(name=name):
                found |= set(name.split("."))
            case ast.Constant(value=str(text)) if re.fullmatch(r"\w+", text):
                found.add(text)
    return found


def docstrings(tree: ast.AST) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


def test_every_name_in_a_docstring_exists():
    by_module = {path.stem: set[str]() for path in SOURCES}
    for path, tree in SOURCES.items():
        by_module[path.stem] |= names_in(tree)
        by_module.setdefault(path.parent.name, set()).update(names_in(tree), [path.stem])
    known = ELSEWHERE.union(by_module, *by_module.values())
    unknown = []
    for path, tree in SOURCES.items():
        for name in (found for text in docstrings(tree) for found in NAME.findall(text)):
            *modules, last = name.removeprefix("lth.").split(".")
            home = by_module.get(modules[-1]) if modules else None
            if not FILE.fullmatch(name) and last not in (known if home is None else home):
                unknown.append(f"{path}: {name}")
    assert not unknown
