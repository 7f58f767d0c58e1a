# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree: layers, cycles, public names, no code from files, one atomic save, one allocation seam."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "penlight": ROOT / "framework/penlight",
    "penlight_export": ROOT / "export/penlight_export",
    "penlight_runtime": ROOT / "runtime/python/penlight_runtime",
    "penlight_serving": ROOT / "runtime/serving/penlight_serving",
    "penlight_mobile": ROOT / "mobile/penlight_mobile",
    "penlight_cli": ROOT / "cli/penlight_cli",
}
SOURCES = [path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py")) if "generated" not in path.parts]
NATIVE = sorted(
    p for folder in ("core", "kernels") for p in (ROOT / "runtime" / folder).rglob("*") if p.suffix in {".h", ".cpp", ".inc"}
)
HEAVY = {"onnx", "onnx_ir", "onnxruntime", "cupy", "PIL", "starlette", "uvicorn", "typer", "rich", "flatbuffers", "torch"}


def module_name(path: Path) -> str:
    package, folder = next((name, folder) for name, folder in PACKAGES.items() if path.is_relative_to(folder))
    parts = [package, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES} | {"penlight._native", "penlight_runtime._runtime"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_level_imports(tree: ast.Module) -> set[str]:
    """Names imported when the module is; those in functions and under TYPE_CHECKING do not run then."""
    found: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members & MODULES or {node.module}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return found


def test_layers_hold():
    result = subprocess.run([str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_import_cycles():
    modules = {module_name(path): module_level_imports(parse(path)) for path in SOURCES}
    # A package's __init__ gathers its modules; what runs is the edge to the module itself.
    edges = {name: sorted(m for m in imports if m in modules and m != name) for name, imports in modules.items()}
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        trail.append(name)
        for target in edges[name]:
            if state.get(target) == 1:
                cycle = [*trail[trail.index(target) :], target]
                pytest.fail("import cycle: " + " -> ".join(cycle))
            if target not in state:
                visit(target)
        trail.pop()
        state[name] = 2

    for name in edges:
        if name not in state:
            visit(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_reexported_as_themselves(package):
    """`from x import Y as Y` is the whole public surface: nothing else may be imported into it by accident."""
    tree = parse(PACKAGES[package] / "__init__.py")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                public = alias.name.rstrip("_")  # bool_ as bool
                assert alias.asname in {alias.name, public} or (alias.asname or "").startswith("_"), (
                    f"{package}/__init__.py line {node.lineno}: write 'import {alias.name} as {public}'"
                )
    assert importlib.import_module(package).__doc__, f"{package} has no docstring"


@pytest.mark.parametrize("folder", ["framework", "export", "runtime", "mobile", "cli"])
def test_top_level_folders_are_source_roots(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_top_level_entries():
    allowed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    allowed |= {"framework", "export", "runtime", "mobile", "cli", "tests"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    entries = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    assert {e for e in entries if not e.startswith(".")} <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_code_from_data(path):
    """No pickle, eval, exec or marshal: files and requests never name code."""
    tree = parse(path)
    names = module_level_imports(ast.Module([n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))], []))
    assert not {n.split(".")[0] for n in names} & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"{path}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{path}:{node.value.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_are_written_by_the_atomic_save_alone(path):
    if path == PACKAGES["penlight"] / "serialize.py":
        return
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        assert name not in {"write_text", "write_bytes", "savez", "savez_compressed"}, f"{path}:{node.lineno}: use atomic_write"
        if name == "open" and isinstance(node.func, ast.Name):
            mode = next((ast.literal_eval(a) for a in node.args[1:2] if isinstance(a, ast.Constant)), "r")
            mode = next((k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)), mode)
            assert not set(mode) & set("wax+"), f"{path}:{node.lineno}: use atomic_write"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_source_files_say_their_licence_and_purpose(path):
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert "SPDX-License-Identifier: Apache-2.0" in text.splitlines()[0], path
        assert ast.get_docstring(parse(path)), f"{path} has no docstring"


@pytest.mark.parametrize("package", ["penlight", "penlight_runtime", "penlight_cli.main"])
def test_import_is_light(package):
    allowed = {"penlight_cli.main": {"typer", "rich"}}.get(package, set())
    code = f"import sys, {package}; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & (HEAVY - allowed), f"import {package} loads {sorted(loaded & (HEAVY - allowed))}"
    if package == "penlight_cli.main":
        assert not loaded & {"numpy", "penlight", "penlight_export", "penlight_runtime"}


def without_comments(path: Path) -> str:
    text = path.read_text(encoding="ascii")  # C++ sources are ASCII
    return re.sub(r'"(\\.|[^"\\])*"', '""', re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S))


@pytest.mark.parametrize("path", NATIVE, ids=lambda p: p.relative_to(ROOT / "runtime").as_posix())
def test_runtime_has_one_allocation_seam_and_never_prints(path):
    code = without_comments(path)
    calls = [m.group(1) for m in re.finditer(r"\b(malloc|calloc|realloc|free|aligned_alloc|posix_memalign)\s*\(", code)]
    if path.name != "allocator.cpp":
        assert not calls, f"{path}: {calls}: allocate through core/allocator"
    assert not re.search(r"\b(printf|fprintf|puts|putchar|abort|exit|alloca)\s*\(", code), path
    assert not re.search(r"\b(throw|try|catch|dynamic_cast|typeid)\b", code), path


def test_modules_do_not_hide_public_names():
    """Importing a submodule sets its name on the package: a function of that name would be lost half-way."""
    code = """
import importlib, pkgutil, sys, penlight
before = dict(vars(penlight))
for module in pkgutil.iter_modules(penlight.__path__, "penlight."):
    importlib.import_module(module.name)
print(*[name for name, value in before.items() if vars(penlight)[name] is not value])
"""
    hidden = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not hidden, f"submodules hide {hidden}: rename the modules"
