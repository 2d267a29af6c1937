"""systemd unit text as Ignition's own parser reads it (coreos/go-systemd, package unit).

It is more lenient than systemd in places and stricter in others; what it refuses, Ignition refuses.
"""

from __future__ import annotations

from flatyard.base.patterns import pattern
from flatyard.base.values import dataclass

LINE_MAX = 2048
_BUFFER = 4096
_SHORT = LINE_MAX // 4 - 1  # characters, of four bytes at most
_BLANKS = " \t\v\f"
_LONG_LINE = pattern(rb"[^\r\n]{%d}" % LINE_MAX)
_LINE_BREAK = pattern(rb"[\r\n]")
_START = pattern(rb"[\[#;]")
_BLANK = pattern(rb"\s*")
_NAME = pattern(rb"[^=\r\n]*")


class UnitError(ValueError):
    """Unit text that cannot be read; the text is the reference's message."""


@dataclass(frozen=True, slots=True)
class Option:
    """One assignment, in file order; a continued value keeps its line breaks."""

    section: str
    name: str
    value: str


def parse_unit(text: str) -> tuple[Option, ...]:
    """The assignments of a unit or drop-in.

    Text before the first section is ignored. Raises UnitError for an unfinished section header, text after
    one, a line that is no assignment, and lines of 2048 bytes and more.
    """
    return _Lexer(text.encode("utf-8", "replace")).run()


def sections(text: str) -> frozenset[str]:
    """Names of the sections that have assignments, which is all that most callers ask of a text.

    Raises UnitError as `parse_unit` does.
    """
    found = _plain_sections(text)
    return frozenset(option.section for option in parse_unit(text)) if found is None else found


def _plain_sections(text: str) -> frozenset[str] | None:
    """The same for a text of short and whole lines, each a header, a comment or an assignment; None for others,
    which the lexer judges."""
    if "\\" in text or "\r" in text:
        return None
    found = set()
    section = None
    for line in text.split("\n"):
        bare = line.strip(_BLANKS)
        if len(line) > _SHORT:
            return None
        if bare.startswith("["):
            if bare.find("]") != len(bare) - 1:
                return None
            section = bare[1:-1]
        elif bare and bare[0] not in "#;":
            if section is None or "=" not in bare:
                return None
            found.add(section)
    return frozenset(found)


class _Lexer:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.loaded = 0
        self.guarded = len(data) >= LINE_MAX and max(map(len, _LINE_BREAK.split(data))) >= LINE_MAX
        self.options: list[Option] = []

    def run(self) -> tuple[Option, ...]:
        section = self.first_section()
        while section is not None:
            section = self.entry(section)
        return tuple(self.options)

    def first_section(self) -> str | None:
        while True:
            match = _START.search(self.data, self.position)
            self.advance_to(match.start() if match else len(self.data))
            if match is None:
                return None
            self.advance_to(match.end())
            if match[0] == b"[":
                return self.header()
            self.skip_comment()

    def entry(self, section: str) -> str | None:
        blank = _BLANK.match(self.data, self.position)
        self.advance_to(blank.end() if blank else self.position)
        self.guard()
        if self.position >= len(self.data):
            return None
        byte = self.data[self.position : self.position + 1]
        if byte == b"[":
            self.advance_to(self.position + 1)
            return self.header()
        if byte in (b"#", b";"):
            self.skip_comment()
        else:
            self.assignment(section)
        return section

    def header(self) -> str:
        self.guard()
        end = self.data.find(b"]", self.position)
        if end < 0:
            raise UnitError("unable to find end of section")
        name = self.data[self.position : end].decode("utf-8", "replace")
        self.advance_to(end + 1)
        self.guard()
        garbage = self.line().strip()
        if garbage:
            shown = garbage.decode("utf-8", "replace")
            raise UnitError(f'found garbage after section name : "{shown}"')
        return name

    def skip_comment(self) -> None:
        self.guard()
        while self.line().removesuffix(b" ").endswith(b"\\"):
            pass

    def assignment(self, section: str) -> None:
        match = _NAME.match(self.data, self.position)
        end = match.end() if match else self.position
        name = self.data[self.position : end].strip().decode("utf-8", "replace")
        self.advance_to(end)
        if end >= len(self.data):
            raise UnitError("EOF")
        if self.data[end : end + 1] != b"=":
            raise UnitError("unexpected newline encountered while parsing option name")
        self.advance_to(end + 1)
        self.options.append(Option(section, name, self.value()))

    def value(self) -> str:
        lines = []
        while True:
            self.guard()
            line = self.line()
            if line.strip():
                lines.append(line)
                if line.endswith(b"\\") and self.position < len(self.data):
                    continue
            return b"\n".join(lines).strip().decode("utf-8", "replace")

    def line(self) -> bytes:
        """The rest of the line without its newline; moves past it."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            rest = self.data[self.position :]
            self.advance_to(len(self.data))
            return rest.removesuffix(b"\r")
        line = self.data[self.position : end]
        self.advance_to(end + 1)
        return line

    def advance_to(self, position: int) -> None:
        """Moves on as the reference's 4 KiB read buffer does: it looks ahead only within the buffer, so that
        how much of a long line it notices depends on where the last refill fell."""
        if self.guarded:
            while self.loaded < position:
                full = self.loaded - self.position >= _BUFFER
                self.position = self.loaded if full else self.position
                self.loaded = min(len(self.data), self.position + _BUFFER)
        self.position = position

    def guard(self) -> None:
        if not self.guarded or self.loaded - self.position < LINE_MAX:
            return
        if _LONG_LINE.match(self.data, self.position):
            raise UnitError(f"line too long (max {LINE_MAX} bytes)")
