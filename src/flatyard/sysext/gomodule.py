"""The go.mod of a wrapper: text in, text out.

Source: the Go Modules Reference, "go.mod files". A required module's own `replace` directives count for nothing,
so a wrapper must say where Kubernetes' staging modules are: at v0.MINOR.PATCH for Kubernetes v1.MINOR.PATCH, as
published for every release.
"""

from __future__ import annotations

import re

from flatyard.base.errors import Failed
from flatyard.sysext.recipes import Recipe, Way

NAME = "flatyard.invalid"
"""Our modules' names start with a domain that never exists (RFC 6761), so that no proxy is asked for them."""

_STAGED = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/[a-z0-9-]+)\s+=>\s+\./staging/", re.MULTILINE)
_GO = re.compile(r"^go\s+(\d+\.\d+(?:\.\d+)?)\s*$", re.MULTILINE)


def wrapper(recipe: Recipe, upstream: str) -> str:
    """The go.mod that a recipe is compiled with; `upstream` is the go.mod of its module, empty for our own.

    Raises Failed when Kubernetes' go.mod has no staging modules: it is then laid out in a way that is not known here.
    """
    parts = [f"module {NAME}/{recipe.name}", f"go {go_version(upstream) or recipe.go}"]
    if recipe.godebug:
        parts.append(f"godebug default={recipe.godebug}")
    if recipe.way is not Way.OURS:
        modules = sorted((recipe.module, *recipe.beside))
        parts.append("require (\n" + "".join(f"\t{module} {recipe.version}\n" for module in modules) + ")")
    if recipe.way is Way.STAGED:
        parts.append(_replacements(recipe, upstream))
    return "\n\n".join(parts) + "\n"


def _replacements(recipe: Recipe, upstream: str) -> str:
    modules = sorted(set(_STAGED.findall(upstream)))
    if not modules:
        raise Failed(
            f"{recipe.module} {recipe.version} names no staging modules",
            why="its go.mod is not as in the releases that this table was made for",
            next="choose another version",
        )
    version = staging_version(recipe.version)
    return "replace (\n" + "".join(f"\t{module} => {module} {version}\n" for module in modules) + ")"


def staging_version(version: str) -> str:
    """`v1.34.3` → `v0.34.3`."""
    return f"v0.{version.removeprefix('v1.')}"


def go_version(text: str) -> str:
    """The `go` line of a go.mod; empty without one."""
    found = _GO.search(text)
    return found[1] if found else ""
