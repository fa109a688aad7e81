"""The package that goes to Azure: built as Core Tools build it, weighed, and imported on its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

MOST_MB = 120  # unpacked; the start of a new instance pays for every one of them
SITE = ".python_packages/lib/site-packages"  # where the Functions worker looks for packages

# Imports the app with nothing but the package and the standard library in reach, then tells where
# each loaded module came from.
PROBE = """
import sys
sys.path[:0] = sys.argv[1:]
import function_app
print(sorted({getattr(m, "__file__", None) or "" for m in list(sys.modules.values())}))
assert type(function_app.app).__name__ == "FunctionApp", type(function_app.app)
"""


def ignored(path: PurePosixPath, patterns: list[str]) -> bool:
    """Whether .funcignore (the syntax of .gitignore, without its negations) leaves a file out."""
    for pattern in patterns:
        name = pattern.rstrip("/")
        parts = path.parts if not pattern.endswith("/") else path.parts[:-1]
        if any(PurePosixPath(part).match(name) for part in parts):
            return True
    return False


def patterns_of(root: Path) -> list[str]:
    lines = (line.strip() for line in (root / ".funcignore").read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def shipped(root: Path) -> list[PurePosixPath]:
    """The files that go into the package, relative to the repository."""
    return list(_walk(root, PurePosixPath(), patterns_of(root)))


def _walk(root: Path, at: PurePosixPath, patterns: list[str]) -> Iterator[PurePosixPath]:
    for entry in sorted(os.scandir(root / at), key=lambda entry: entry.name):
        path = at / entry.name
        if entry.is_dir() and not ignored(path / "x", patterns):
            yield from _walk(root, path, patterns)
        elif entry.is_file() and not ignored(path, patterns):
            yield path


def test_only_the_app_is_shipped(root: Path) -> None:
    tops = {path.parts[0] for path in shipped(root)}
    allowed = {"function_app.py", "host.json", "requirements.txt", "gateway"}
    assert tops <= allowed
    assert {"gateway", "requirements.txt"} <= tops


def test_nothing_of_the_app_is_left_out(root: Path) -> None:
    there = {path for path in (root / "gateway").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    sent = {root / path for path in shipped(root)}
    assert there - sent == set()


@pytest.mark.parametrize(
    "path",
    [
        "tests/infra/conftest.py",
        "emulators/vault.py",
        "benchmarks/run.py",
        "infra/main.bicep",
        "docs/deploy.md",
    ],
)
def test_what_the_app_does_not_need_stays_behind(root: Path, path: str) -> None:
    assert ignored(PurePosixPath(path), patterns_of(root))


def test_requirements_are_pinned_and_fit_every_supported_python(root: Path) -> None:
    lines = [line.split("#")[0].strip() for line in (root / "requirements.txt").read_text().splitlines()]
    needs = [line for line in lines if line]
    assert all("==" in line for line in needs)
    # 1.x of azure-functions serves the workers up to 3.12, 2.x those from 3.13.
    functions = [line for line in needs if line.startswith("azure-functions==")]
    assert sorted(line.split(";")[1].strip() for line in functions) == [
        'python_version < "3.13"',
        'python_version >= "3.13"',
    ]
    tools = ("pytest", "mypy", "ruff", "hypothesis", "import-linter", "portkey", "openai")
    assert not [line for line in needs if line.startswith(tools)]


def clean_environ() -> dict[str, str]:
    """Enough for pip to find its way (proxy, certificates, index); nothing that steers an import."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def package(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    for path in shipped(root):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, folder / path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-compile", "--target", SITE, "--requirement", "requirements.txt"),
        ],
        cwd=folder,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_the_package_is_small(package: Path, record_property: Callable[[str, object], None]) -> None:
    size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) / 2**20
    record_property("package_mb", round(size, 1))
    print(f"package: {size:.1f} MB unpacked, at most {MOST_MB}")
    assert size <= MOST_MB


def test_the_app_imports_from_the_package_alone(root: Path, package: Path) -> None:
    if not (root / "function_app.py").exists():
        pytest.skip("function_app.py is not in the repository yet")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, str(package), str(package / SITE)],
        cwd=package,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    loaded = [name.strip("'[] ") for name in done.stdout.strip().splitlines()[-1].split(",")]
    assert any(name.startswith(str(package)) for name in loaded)
    assert not [n for n in loaded if "site-packages" in n and not n.startswith(str(package))]
