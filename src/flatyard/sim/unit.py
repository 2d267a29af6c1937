"""One unit file with its drop-ins, as systemd reads it: options, lists of units, specifiers, command lines.

A subset of systemd.unit(5), systemd.service(5) and systemd-escape(1).
"""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass, field

STRONG = ("Requires", "BindsTo", "Requisite")
"""Options whose units have to run."""
WEAK = ("Wants", "Upholds")
"""Options whose units are started along, whatever becomes of them."""
_LIST_OPTIONS = (
    *STRONG,
    *WEAK,
    "After",
    "Before",
    "RequiresMountsFor",
    "WantsMountsFor",
    "OnFailure",
    "PartOf",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One loaded unit: its options after all drop-ins, in order. `problem` says why it cannot be loaded."""

    name: str
    options: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    problem: str = ""
    """`masked`, `not-found`, or `bad-setting: …`."""
    _lines: list[list[list[str]]] = field(default_factory=list, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """`service`, `mount` …"""
        return self.name.rpartition(".")[2]

    def all(self, name: str, section: str = "Unit") -> list[str]:
        """The values of an option; lists of units are split into names."""
        values = self.options.get((section, name), [])
        if name not in _LIST_OPTIONS:
            return values
        return [expand(word, self.name) for value in values for word in value.split()]

    def last(self, name: str, section: str = "Service") -> str:
        """The value that counts of an option that is set once."""
        values = self.options.get((section, name))
        return expand(values[-1], self.name) if values else ""

    def environment(self) -> dict[str, str]:
        """The variables of Environment=."""
        found: dict[str, str] = {}
        for value in self.options.get(("Service", "Environment"), []):
            for word in shlex.split(value):
                name, _, text = word.partition("=")
                found[name] = text
        return found

    def commands(self) -> list[list[str]]:
        """ExecStartPre and ExecStart as words, variables filled in; the prefix characters stay on the first."""
        if not self._lines:
            self._lines.append(self._read_commands())
        return self._lines[0]

    def _read_commands(self) -> list[list[str]]:
        variables = self.environment()
        lines = [*self.all("ExecStartPre", "Service"), *self.all("ExecStart", "Service")]
        return [_words(expand(line, self.name), variables) for line in lines if line]


def _words(line: str, variables: dict[str, str]) -> list[str]:
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError:
        words = line.split()
    filled: list[str] = []
    for word in words:
        for name, value in variables.items():
            word = word.replace(f"${{{name}}}", value)
        bare = word.removeprefix("$")
        filled += shlex.split(variables[bare]) if word.startswith("$") and bare in variables else [word]
    return filled


def expand(text: str, name: str) -> str:
    """The specifiers that units of first boots use: %n, %N, %p, %i, %I."""
    if "%" not in text:
        return text
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    table = {
        "%%": "%",
        "%n": name,
        "%N": stem,
        "%p": prefix,
        "%i": instance,
        "%I": instance.replace("-", "/"),
    }
    parts: list[str] = []
    index = 0
    while index < len(text):
        pair = text[index : index + 2]
        parts.append(table.get(pair, text[index]))
        index += 2 if pair in table else 1
    return "".join(parts)


def escape_path(path: str) -> str:
    """`/var/lib/etcd` → `var-lib-etcd`, as systemd-escape --path does for plain names."""
    cleaned = posixpath.normpath(path).strip("/")
    if not cleaned:
        return "-"
    shown = "".join(
        "-" if c == "/" else c if c.isalnum() or c in ":_." else "".join(f"\\x{b:02x}" for b in c.encode())
        for c in cleaned
    )
    return f"\\x2e{shown[1:]}" if shown.startswith(".") else shown
