"""The account files of a root as records: who is in /etc/passwd, /etc/group and beside them, and in /etc/login.defs.

As passwd(5), group(5), shadow(5), gshadow(5), subuid(5) and login.defs(5) have them; what a config has written there
may be less than whole.
"""

from __future__ import annotations

from flatyard.ignition.tree import Root, RootError, follow, make_parents

_LOGIN_DEFAULTS = {
    "UID_MIN": 1000,
    "UID_MAX": 60000,
    "GID_MIN": 1000,
    "GID_MAX": 60000,
    "SYS_UID_MIN": 101,
    "SYS_GID_MIN": 101,
    "SUB_UID_MIN": 100000,
    "SUB_UID_COUNT": 65536,
    "SUB_GID_MIN": 100000,
    "SUB_GID_COUNT": 65536,
}
PASSWD, GROUP, SHADOW, GSHADOW = "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"
SUBUID, SUBGID = "/etc/subuid", "/etc/subgid"

PASSWD_FIELDS, GROUP_FIELDS, SHADOW_FIELDS = 7, 4, 3
_ID_DIGITS = 10
_NO_ID = 0xFFFFFFFF

Row = list[str]
"""One record, fields apart."""


class AccountFiles:
    """The account files of a root, read afresh each time and written only where they change."""

    def __init__(self, root: Root) -> None:
        self.root = root

    # reading

    def rows(self, file: str) -> list[Row]:
        """The records of one file, fields apart."""
        path = follow(self.root, file, last=True)
        if self.root.lstat(path) is None:
            return []
        text = self.root.read(path).decode("utf-8", "surrogateescape")
        return [line.split(":") for line in text.split("\n") if line]

    def user(self, name: str) -> Row | None:
        """A record of /etc/passwd."""
        return find(self.rows(PASSWD), name, PASSWD_FIELDS)

    def group(self, name: str) -> Row | None:
        """A record of /etc/group."""
        return find(self.rows(GROUP), name, GROUP_FIELDS)

    def uid(self, name: str) -> int | None:
        """A user's number."""
        row = self.user(name)
        return int(row[2]) if row else None

    def gid(self, name: str) -> int | None:
        """A group's number."""
        row = self.group(name)
        return int(row[2]) if row else None

    # writing

    def exists(self, file: str) -> bool:
        """Whether the root has the file at all."""
        return self.root.lstat(follow(self.root, file, last=True)) is not None

    def append(self, file: str, row: Row) -> None:
        """One more record at the end."""
        self.save(file, [*self.rows(file), row])

    def drop(self, file: str, name: str) -> None:
        """Without the records of a name."""
        self.save(file, [row for row in self.rows(file) if row[0] != name])

    def replace(self, file: str, changed: Row) -> None:
        """With another record in place of those of its name."""
        self.save(file, [changed if row[0] == changed[0] else row for row in self.rows(file)])

    def save(self, file: str, rows: list[Row]) -> None:
        """The whole file; who owns it and its mode stay as they are."""
        path = follow(self.root, file, last=True)
        content = "".join(":".join(row) + "\n" for row in rows).encode("utf-8", "surrogateescape")
        node = self.root.lstat(path)
        if node is None:
            make_parents(self.root, path)
            self.root.write(path, content, 0o640 if "shadow" in file else 0o644)
        elif self.root.read(path) != content:
            self.root.write(path, content, node.mode)
            self.root.chown(path, node.uid, node.gid)


def find(rows: list[Row], name: str, fields: int) -> Row | None:
    """The first record of a name that has all its fields, and numbers where numbers belong."""
    whole = (row for row in rows if row[0] == name and len(row) >= fields)
    return next((row for row in whole if fields == SHADOW_FIELDS or has_numbers(row, fields)), None)


def has_numbers(row: Row, fields: int) -> bool:
    """Whether a record of /etc/passwd or /etc/group has ids where they belong."""
    numbers = [field(row, 2)] if fields == GROUP_FIELDS else row[2:4]
    return all(
        number.isdecimal() and len(number) <= _ID_DIGITS and int(number) < _NO_ID for number in numbers
    )


def field(row: Row, index: int) -> str:
    """A field; a config may have appended lines with too few."""
    return row[index] if index < len(row) else ""


def is_id(number: int | None) -> bool:
    """Whether the kernel has such an id; all ones mean none there."""
    return number is None or 0 <= number < _NO_ID


def login_defs(root: Root) -> dict[str, int]:
    """The numbers of /etc/login.defs that count here, with the defaults of the shadow tools."""
    found = dict(_LOGIN_DEFAULTS)
    for key, value in settings(root, "/etc/login.defs", None).items():
        if key in found and value.isdigit():
            found[key] = int(value)
    return found


def settings(root: Root, file: str, separator: str | None) -> dict[str, str]:
    """The settings of a file of `key separator value` lines; none where it cannot be read."""
    try:
        text = root.read(follow(root, file, last=True)).decode("utf-8", "replace")
    except RootError:
        return {}
    pairs = (line.split(separator, 1) for line in text.splitlines() if not line.startswith("#"))
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) > 1}
