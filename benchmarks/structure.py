"""The shape of the package: modules at its root, and the imports between its folders.

    python benchmarks/structure.py [CHECKOUT]

Every import counts, also inside a function or for type checking alone. A room is a folder of the package, or
a module at its root. An arrow runs back if it goes from what serves both ways, cleaning and training, to what
uses it.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

LOW = {"imaging", "inference", "weights", "plugins", "system"}
HIGH = {"pipeline", "training", "commands"}


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """Give (importing, imported) modules, by their names within the package."""
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for full in found:
                top, _, rest = full.partition(".")
                while rest and rest not in modules:
                    rest = rest.rpartition(".")[0]
                if top == package.name and rest and rest != name:
                    yield name, rest


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach one another."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = arrows.get(waiting.pop(), set()) - seen
            seen |= new
            waiting.extend(new)
        return seen

    reach = {node: reached(node) for node in arrows}
    groups = {tuple(sorted(b for b in reach if b in reach[a] and a in reach[b])) for a in reach}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def main(checkout: Path) -> None:
    """Print the shape of one checkout."""
    package = checkout / "denoiser"
    root = sorted(path.stem for path in package.glob("*.py"))
    pairs = set(imports(package))
    between: dict[str, set[str]] = defaultdict(set)
    modules: dict[str, set[str]] = defaultdict(set)
    for importing, imported in pairs:
        modules[importing].add(imported)
        folder, other = importing.partition(".")[0], imported.partition(".")[0]
        if folder != other:
            between[folder].add(other)
    folders = {path.parent.name for path in package.glob("*/*.py")}
    print(f"modules at the root: {len(root)} ({', '.join(root)})")
    print(f"arrows between modules: {len(pairs)}")
    print(f"rooms (folders, and modules at the root): {len(folders | set(root) - {'__init__'})}")
    print(f"arrows between rooms: {sum(map(len, between.values()))}")
    for folder in sorted(folders):
        print(f"  {folder} -> {', '.join(sorted(between[folder])) or 'nothing'}")
    print(f"circles of modules: {circles(modules) or 'none'}")
    print(f"circles of rooms: {circles(between) or 'none'}")
    back = sorted(f"{a} -> {b}" for a in LOW for b in between.get(a, ()) if b in HIGH)
    print(f"arrows running back: {', '.join(back) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
