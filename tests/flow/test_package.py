"""The package: four folders that become one, and who may import whom."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"sw": "heddle", "rtl": "heddle/rtl", "sim": "heddle/sim", "boards": "heddle/boards"}
SUFFIXES = {".py", ".cpp", ".h", ".v", ".sv", ".safetensors", ".fasta", ".json", ".txt",
            ".tcl", ".xdc", ".dtso", ".md"}
SOURCES = {folder: sorted(path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*")
                          if path.suffix in SUFFIXES and not path.match("*.egg-info/*"))
           for folder in FOLDERS}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The package as an ordinary installation lays it out."""
    folder = tmp_path_factory.mktemp("build")
    subprocess.run([sys.executable, "-W", "ignore", "-c", "import setuptools; setuptools.setup()",
                    "-q", "build", "--build-base", folder / "base", "--build-lib", folder / "lib",
                    "egg_info", "--egg-base", folder],
                   cwd=ROOT, check=True, capture_output=True)
    return folder / "lib"


def test_every_source_file_is_packaged(built):
    wanted = {Path(FOLDERS[folder]) / path for folder, paths in SOURCES.items() for path in paths}
    assert wanted <= {path.relative_to(built) for path in built.rglob("*")}


def test_installed_package_works_away_from_the_repository(built, tmp_path):
    code = "import heddle, heddle.cli; print(heddle.__file__)"
    done = subprocess.run([sys.executable, "-c", code],
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(built)},
                          capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(built / "heddle" / "__init__.py")


def imported(path):
    """Yield the modules that a file imports from the package, as their names inside it."""
    package = Path(FOLDERS[path.relative_to(ROOT).parts[0]])
    package /= path.relative_to(ROOT / path.relative_to(ROOT).parts[0]).parent
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.parts[1:][:len(package.parts) - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (".".join((*base, name)) for name in names)


@pytest.mark.parametrize(("folder", "allowed"), [
    ("rtl", lambda name: name.startswith("rtl.")),
    ("sw", lambda name: not name.startswith("rtl.") or name in ("rtl.geometry", "rtl.frames",
                                                                "rtl.isa", "rtl.registers")),
    ("sim", lambda name: not name.startswith("boards")),
])
def test_imports(folder, allowed):
    wrong = [f"{path}: {name}" for path in SOURCES[folder] if path.suffix == ".py"
             for name in imported(ROOT / folder / path) if not allowed(name)]
    assert not wrong
