"""Writes `docs/parts.md`, the list of what exists, out of the source.

    python scripts/list_parts.py [--check]

Nothing is imported. With `--check` nothing is written: it exits with 1 when the page is stale.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from isometry.core.writing import write_text

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "isometry"
PAGE = ROOT / "docs" / "parts.md"
COMMAND = "python scripts/list_parts.py"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_HEAD = f"""# The list of what exists

Written by `{COMMAND}` out of the source; do not edit it. Folders stand in the order of
the house: a folder imports only from folders above it. A class is shown as it is called; where it
has no constructor of its own, with what it derives from. Private names and re-exports are left out.
"""


def main() -> int:
    """Writes the page, or says whether it is stale."""
    parser = argparse.ArgumentParser(description="Write docs/parts.md out of the source.")
    parser.add_argument("--check", action="store_true", help="Only say whether it is stale.")
    page = render(SOURCE, house(ROOT / "pyproject.toml"))
    if not parser.parse_args().check:
        write_text(PAGE, page)
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is stale; run: {COMMAND}", file=sys.stderr)
    return 1


def house(configuration: Path) -> list[str]:
    """The folders in the order of the house, as the import contract has them."""
    tools = tomllib.loads(configuration.read_text(encoding="utf-8"))["tool"]
    (contract,) = tools["importlinter"]["contracts"]
    return [layer.removeprefix("isometry.") for layer in reversed(contract["layers"])]


def render(source: Path, order: list[str]) -> str:
    """The page as Markdown.

    Args:
        source: The package's folder.
        order: The names of its folders, and of modules beside them.

    Raises:
        ValueError: When a folder or module of the package is not in the order.
    """
    parts = [_HEAD]
    modules = list(public_modules(source))
    for name in dict.fromkeys(module.relative_to(source).parts[0] for module in modules):
        if name.removesuffix(".py") not in order:
            raise ValueError(f"{name} has no place in the house: {', '.join(order)}.")
    for name in order:
        own = [
            module
            for module in modules
            if module.relative_to(source).parts[0].removesuffix(".py") == name
        ]
        if own:
            parts.append(f"## {name}\n")
        about = source / name / "__init__.py"
        if about.is_file() and (words := ast.get_docstring(_parse(about))):
            parts.append(f"{_first_line(words)}\n")
        for module in own:
            parts += _module(module, source)
    return "\n".join(parts)


def public_modules(source: Path) -> Iterator[Path]:
    """The modules with something public in them, by path; a folder's own files first."""
    for module in sorted(source.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        if not module.name.startswith("_") and any(public(_parse(module))):
            yield module


def public(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """The classes and functions that are defined right below a node, without private ones."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child


def undocumented(source: Path) -> list[str]:
    """Public classes, functions and methods without a docstring, as "path:line name"."""
    found: list[str] = []
    for module in public_modules(source):
        for definition in public(_parse(module)):
            members = list(public(definition)) if isinstance(definition, ast.ClassDef) else []
            found += [
                f"{module.relative_to(source).as_posix()}:{node.lineno} {node.name}"
                for node in (definition, *members)
                if not (ast.get_docstring(node) or "").strip()
            ]
    return found


def signature(definition: Definition) -> str:
    """How a function or class is called, or what a class without a constructor derives from."""
    if not isinstance(definition, ast.ClassDef):
        given = ", ".join(_arguments(definition.args))
        returns = f" -> {_unparse(definition.returns)}" if definition.returns else ""
        return f"{definition.name}({given}){returns}"
    bases = [_unparse(base) for base in definition.bases]
    for member in definition.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            given = list(_arguments(member.args))[1:]  # without self
            return f"class {definition.name}({', '.join(given)})"
    decorators = [_unparse(decorator) for decorator in definition.decorator_list]
    if any(name.startswith("dataclass") for name in decorators) or "NamedTuple" in bases:
        return f"class {definition.name}({', '.join(_fields(definition))})"
    return f"class {definition.name}" + (f"({', '.join(bases)})" if bases else "")


def _arguments(given: ast.arguments) -> Iterator[str]:
    """The arguments one by one, with `/` and `*` between them; annotated defaults spaced out."""
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    for number, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        if number and number == len(given.posonlyargs):
            yield "/"
        yield _argument(argument, default)
    if given.posonlyargs and len(given.posonlyargs) == len(positional):
        yield "/"
    if given.vararg:
        yield f"*{_argument(given.vararg, None)}"
    elif given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _argument(argument, default)
    if given.kwarg:
        yield f"**{_argument(given.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {_unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if argument.annotation else "="
    return argument.arg + kind + (f"{equals}{_unparse(default)}" if default else "")


def _fields(definition: ast.ClassDef) -> Iterator[str]:
    for member in definition.body:
        if not isinstance(member, ast.AnnAssign):
            continue
        kind = _unparse(member.annotation)
        if not kind.startswith("ClassVar") and not _is_no_argument(member.value):
            default = f" = {_default(member.value)}" if member.value is not None else ""
            yield f"{_unparse(member.target)}: {kind}{default}"


def _is_no_argument(value: ast.expr | None) -> bool:
    """Whether a field's default says `init=False`."""
    return isinstance(value, ast.Call) and any(
        option.arg == "init" and _unparse(option.value) == "False" for option in value.keywords
    )


def _default(value: ast.expr) -> str:
    if isinstance(value, ast.Call) and _unparse(value.func) == "field":
        options = {option.arg: _unparse(option.value) for option in value.keywords}
        return options.get("default") or f"{options['default_factory']}()"
    return _unparse(value)


class _WithoutOptions(ast.NodeTransformer):
    """`Annotated[str, typer.Option(...)]` -> `str`: what a command's help says is not repeated."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if (
            isinstance(node.value, ast.Name)
            and node.value.id == "Annotated"
            and isinstance(node.slice, ast.Tuple)
        ):
            return node.slice.elts[0]
        return node


def _unparse(node: ast.AST) -> str:
    text = ast.unparse(_WithoutOptions().visit(node))
    # Strings in the house's own quotes.
    return re.sub(r"'([^'\"]*)'", r'"\1"', text)


def _module(module: Path, source: Path) -> Iterator[str]:
    tree = _parse(module)
    name = module.relative_to(source).as_posix()
    yield f"### [{name}](../src/{source.name}/{name})\n"
    yield f"{_first_line(ast.get_docstring(tree) or '')}\n"
    for definition in public(tree):
        line = f"- `{signature(definition)}`<br>{_first_line(ast.get_docstring(definition) or '')}"
        if isinstance(definition, ast.ClassDef):
            members = ", ".join(f"`{member.name}`" for member in public(definition))
            line += f" Members: {members}." if members else ""
        yield line
    yield ""


def _first_line(docstring: str) -> str:
    return docstring.strip().partition("\n")[0]


def _parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
