"""Any prepared tree as an extension: the release file that makes a node merge it."""

from __future__ import annotations

from flatyard.base.errors import Refused
from flatyard.sysext import extension_release
from flatyard.sysext.contents import Contents, Text, architectures

UNITS = "usr/lib/systemd/system/"


def extension_contents(name: str, tree: Contents, *, arch: str = "") -> tuple[Contents, str]:
    """A prepared tree with an extension-release file, and the architecture that the image is for (empty: any).

    A tree that brings its own file keeps it; one without gets a file that fits any OS. `arch` (`x86-64`) must be that
    of the programs in the tree. Raises Refused where the two contradict each other or the file has another name.
    """
    machine = _machine(name, tree, arch)
    own = extension_release.path_of(name)
    given = tree.text(own)
    others = tree.below(extension_release.FOLDER)
    if given is None and others:
        raise Refused(
            f"the tree has {extension_release.FOLDER}/{others[0]}, and the extension is {name}",
            why="systemd merges an image only under the name in its release file",
            next=f"rename the file to {extension_release.PREFIX}{name}, or build"
            f" {others[0].removeprefix(extension_release.PREFIX)}",
        )
    if given is None:
        has_units = any(path.startswith(UNITS) for path in tree.entries)
        return tree.with_entries({own: Text(extension_release.render(machine, reload=has_units))}), machine
    written = extension_release.parse(given.decode("utf-8", "replace")).get("ARCHITECTURE", "")
    written = "" if written == extension_release.ANY else written
    if written and machine and written != machine:
        raise Refused(
            f"/{own} says ARCHITECTURE={written}, and the extension is for {machine}",
            why="a node of either architecture would leave it out, or fail to run it",
            next="correct the file, or leave ARCHITECTURE out of it",
        )
    return tree, written or machine


def _machine(name: str, tree: Contents, arch: str) -> str:
    machines = architectures(tree)
    if arch and arch not in machines and machines:
        paths = next(iter(machines.values()))
        raise Refused(
            f"{name} is to be for {arch}, and its programs are not",
            why=f"/{paths[0]} is for {next(iter(machines))}",
            next="leave --arch out, or build the tree for it",
        )
    if arch or not machines:
        return arch
    if len(machines) > 1 or "other" in machines:
        named = "; ".join(f"/{paths[0]} is for {machine}" for machine, paths in machines.items())
        raise Refused(
            f"{name} has programs for several architectures, or for one that Flatcar is not built for",
            why=named,
            next="say which it is for with --arch x86-64 or --arch arm64",
        )
    return next(iter(machines))
