"""What a stage's code means: which of our modules it reaches, and a digest of what they do.

The digest is of the syntax tree. Comments, docstrings, the annotations of functions, formatting and the order
of imports leave it as it is; a changed constant, name or statement does not. Annotations of fields stay,
since dataclasses and pydantic act upon them. The import graph is read from the syntax tree too, so nothing is
executed and nothing heavy is loaded. Every import counts, inside functions too, but for those that only a
type checker sees. Modules
imported by a string are not seen: whoever does that names them where the digest is asked for.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("models", "baselines", "evaluation", "reports", "workflow")

GPU_ONLY = ("models.kernels",)
"""Modules that no CPU ever imports, so that a suite on CPUs does not depend on them."""


NORMALISED = frozenset({"type_comment", "kind", "returns", "annotation", "body", "orelse", "finalbody"})
"""Fields of syntax trees of which not all counts: see `_field`."""


class SourceFile(NamedTuple):
    """One module as far as stages depend on it."""

    meaning: str
    """Digest of the syntax tree, the same on every supported Python."""
    imports: tuple[str, ...]
    """Modules of ours that it imports, by dotted name."""


def imported_files(root: Path, module: str, without: Iterable[str] = ()) -> list[Path]:
    """Files of `module` and of everything of ours it imports, directly or not, sorted; paths relative to
    `root`.

    without: modules that do not count, such as `GPU_ONLY`. Raises FileNotFoundError if the module, or one it
    imports from our packages, has no file.
    """
    found: set[Path] = set()
    waiting, seen = [module], set(without)
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
        found.add(path.relative_to(root))
        waiting += [*_parents_of(root, name), *_read(root, path).imports]
    return sorted(found)


def stage_files(
    root: Path, module: str, data: Iterable[str] = (), without: Iterable[str] = ()
) -> dict[str, str]:
    """Digest of every file that a stage depends on, by path.

    module: the stage's script. data: globs of data files that it reads, which count byte for byte.
    Raises FileNotFoundError if a module has no file or a glob matches none.
    """
    files = {
        path.as_posix(): _read(root, root / path).meaning for path in imported_files(root, module, without)
    }
    for pattern in data:
        matches = sorted(path for path in root.glob(pattern) if path.is_file())
        if not matches:
            raise FileNotFoundError(
                f"no file matches {pattern} under {root}, which {module} reads; restore it."
            )
        files |= {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in matches
        }
    return files


def code_digest(root: Path, module: str, data: Iterable[str] = (), without: Iterable[str] = ()) -> str:
    """Digest of a stage's code, 16 hex digits. Arguments and errors as of `stage_files`."""
    return digest_of(stage_files(root, module, data, without))


def digest_of(files: dict[str, str]) -> str:
    """Digest of a stage from those of its files, 16 hex digits."""
    listed = "".join(f"{path} {digest}\n" for path, digest in files.items())
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def meaning(source: str) -> str:
    """Digest of what a module does, from its text. Raises SyntaxError if it is no Python."""
    return _meaning(ast.parse(source))


def _meaning(tree: ast.AST) -> str:
    words: list[str] = []
    _add_words(tree, words)
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _add_words(node: object, words: list[str]) -> None:
    """Add a syntax tree as a flat sequence: types, names and values, without what means nothing.

    Empty fields are left out, because later Pythons add some to known nodes.
    """
    if isinstance(node, ast.AST):
        words.append(f"({type(node).__name__}")
        for field in node._fields:
            value = node.__dict__.get(field)
            if field in NORMALISED:
                value = _field(node, field, value)
            if value is not None and value != []:
                words.append(field)
                _add_words(value, words)
        words.append(")")
    elif isinstance(node, list):
        words.append("[")
        for item in node:
            _add_words(item, words)
        words.append("]")
    else:
        words.append(f"{type(node).__name__} {node!r}")


def _field(node: ast.AST, field: str, value: object) -> object:
    """A field of a node, normalised: see `meaning`."""
    if field in ("type_comment", "kind") or (field == "returns" and isinstance(node, ast.FunctionDef)):
        return None
    if field == "annotation" and isinstance(node, ast.arg):
        return None
    if field == "body" and isinstance(value, list):
        return _statements(value, fields=isinstance(node, ast.ClassDef))
    if field in ("orelse", "finalbody") and isinstance(value, list):
        return _statements(value, fields=False)
    return value


def _statements(body: list[ast.stmt], *, fields: bool) -> list[ast.AST]:
    """Statements without docstrings, with imports that follow each other in order of name. fields: of a
    class.
    """
    kept: list[ast.AST] = []
    together: list[ast.ImportFrom | ast.Import] = []
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            together.append(statement)
            continue
        kept += _in_order(together)
        together = []
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if _for_type_checkers(statement):
            continue
        if isinstance(statement, ast.AnnAssign) and not fields:
            if statement.value is None:
                continue
            statement = ast.Assign(targets=[statement.target], value=statement.value)
        kept.append(statement)
    return kept + _in_order(together)


def _in_order(imports: list[ast.Import | ast.ImportFrom]) -> list[ast.AST]:
    """One import a name, sorted. Deferred annotations are about annotations alone and left out."""
    each = {
        (_module_of(one), one.level if isinstance(one, ast.ImportFrom) else 0, name.name, name.asname or "")
        for one in imports
        for name in one.names
    }
    return [
        ast.ImportFrom(module=module, names=[ast.alias(name=name, asname=asname or None)], level=level)
        for module, level, name, asname in sorted(each)
        if module != "__future__"
    ]


def _module_of(node: ast.Import | ast.ImportFrom) -> str:
    """The module that names are imported from; "" for a plain import."""
    return (node.module or ".") if isinstance(node, ast.ImportFrom) else ""


def _for_type_checkers(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Name)
        and statement.test.id == "TYPE_CHECKING"
        and not statement.orelse
    )


def imported_here(root: Path, module: str) -> bool:
    """Whether a module has a file under `root`."""
    return _file_of(root, module) is not None


def _file_of(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parents_of(root: Path, module: str) -> list[str]:
    """Packages around a module that have an __init__.py, which is executed when the module is imported."""
    parts = module.split(".")
    parents = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    return [name for name in parents if root.joinpath(*name.split("."), "__init__.py").is_file()]


def _read(root: Path, path: Path) -> SourceFile:
    status = path.stat()
    return _parsed(root, path, status.st_mtime_ns, status.st_size)


@cache
def _parsed(root: Path, path: Path, _mtime_ns: int, _size: int) -> SourceFile:
    """As `_read`; an edited file has another time or size, and is parsed anew."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    parts = path.relative_to(root).with_suffix("").parts
    package = parts[:-1]
    imports = tuple(dict.fromkeys(_imported(root, tree, package)))
    return SourceFile(_meaning(tree), imports)


def _imported(root: Path, tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and _for_type_checkers(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*start, *([node.module] if node.module else [])])
            if not _is_ours(source):
                continue
            submodules = [f"{source}.{alias.name}" for alias in node.names]
            inner = [name for name in submodules if _file_of(root, name) is not None]
            yield from inner
            if _file_of(root, source) is not None or len(inner) < len(submodules):
                yield source
        elif not isinstance(node, ast.expr):  # which hold no statement
            yield from _imported(root, node, package)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES
