"""Which of our modules a stage really imports, and a digest over exactly those.

The import graph is read from the syntax tree, so nothing is executed and nothing heavy is loaded. Every
import counts, inside functions too. Imports by string are not seen; the project has none.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGES = ("models", "baselines", "evaluation", "reports", "workflow")


def imported_files(root: Path, module: str) -> list[Path]:
    """Files of `module` and of everything of ours it imports, directly or not, sorted; paths relative to
    `root`.

    Raises FileNotFoundError if the module, or one it imports from our packages, has no file.
    """
    found: set[Path] = set()
    waiting = [module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _file_of(root, name)
        if path is None:
            raise FileNotFoundError(
                f"module {name}, reached from {module}, has no file under {root}; restore it or fix the "
                "import."
            )
        for package in _packages_of(root, name):
            found.add(package.relative_to(root))
            waiting.extend(_imports(root, _module_of(root, package)))
        found.add(path.relative_to(root))
        waiting.extend(_imports(root, name))
    return sorted(found)


def code_digest(root: Path, module: str, data: Iterable[str] = ()) -> str:
    """Sha256 (16 hex digits) over names and bytes of the module's files and of the data files matching the
    globs `data`.
    """
    files = imported_files(root, module)
    for pattern in data:
        matches = sorted(path.relative_to(root) for path in root.glob(pattern) if path.is_file())
        if not matches:
            raise FileNotFoundError(
                f"no file matches {pattern} under {root}, which {module} reads; restore it."
            )
        files += matches
    digest = hashlib.sha256()
    for path in files:
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        digest.update(f"{path.as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def _file_of(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _packages_of(root: Path, module: str) -> list[Path]:
    parents = module.split(".")[:-1]
    inits = (root.joinpath(*parents[: depth + 1], "__init__.py") for depth in range(len(parents)))
    return [path for path in inits if path.is_file()]


def _module_of(root: Path, init: Path) -> str:
    return ".".join(init.parent.relative_to(root).parts)


@cache
def _imports(root: Path, module: str) -> tuple[str, ...]:
    path = _file_of(root, module)
    if path is None:
        return ()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = []
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if _is_ours(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            if not _is_ours(source):
                continue
            submodules = [f"{source}.{alias.name}" for alias in node.names]
            inner = [name for name in submodules if _file_of(root, name) is not None]
            names += inner
            if _file_of(root, source) is not None or len(inner) < len(submodules):
                names.append(source)
    return tuple(dict.fromkeys(names))


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES
