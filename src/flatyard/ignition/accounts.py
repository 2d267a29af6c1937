"""Users and groups of a root, changed as Ignition changes them: by the rules of the shadow tools.

`useradd`, `usermod`, `userdel`, `groupadd` and `groupdel` (shadow 4.17, called with `--root`) edit the
account files of the root and its home directories; what they refuse carries their exit code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from flatyard.ignition.account_files import (
    GROUP,
    GROUP_FIELDS,
    GSHADOW,
    PASSWD,
    SHADOW,
    SHADOW_FIELDS,
    SUBGID,
    SUBUID,
    AccountFiles,
    Row,
    field,
    find,
    has_numbers,
    is_id,
    login_defs,
    settings,
)
from flatyard.ignition.tree import NodeKind, Root, RootError, follow, make_parents
from flatyard.ignition.types import Group, User

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?")
_NAME_LIMIT = 32
_HOME_IN_USE, _GROUP_MISSING, _ID_TAKEN, _BAD_ARGUMENT, _NAME_TAKEN, _PRIMARY_GROUP = 12, 6, 4, 3, 9, 8


class AccountError(Exception):
    """What a shadow tool refuses, with its exit code."""

    def __init__(self, tool: str, code: int, message: str) -> None:
        super().__init__(f"{tool}: {message} (exit status {code})")
        self.code = code


class Accounts(AccountFiles):
    """The accounts of a root. `day` is the day of the change, counted from 1970-01-01."""

    def __init__(self, root: Root, day: int) -> None:
        super().__init__(root)
        self.day = day
        self.login = login_defs(root)

    # groups

    def ensure_group(self, group: Group) -> None:
        """One entry of `passwd.groups`. An existing group cannot be declared again: exit status 9."""
        if group.should_exist is False:
            if self.group(group.name):
                self._groupdel(group.name)
            return
        if self.group(group.name):
            raise AccountError("groupadd", _NAME_TAKEN, f"group '{group.name}' already exists")
        if not _is_name(group.name):
            raise AccountError("groupadd", _BAD_ARGUMENT, f"'{group.name}' is not a valid group name")
        _check_fields("groupadd", password=group.password_hash)
        gid = group.gid
        if not is_id(gid):
            raise AccountError("groupadd", _BAD_ARGUMENT, f"invalid group ID '{gid}'")
        if gid is not None and any(field(row, 2) == str(gid) for row in self.rows(GROUP)):
            raise AccountError("groupadd", _ID_TAKEN, f"GID '{gid}' already exists")
        if gid is None:
            gid = self._free_id(GROUP, "GID", system=bool(group.system))
        self._add_group(group.name, gid, group.password_hash or "*")

    def _add_group(self, name: str, gid: int, password: str) -> None:
        self.append(GROUP, [name, "x", str(gid), ""])
        self.append(GSHADOW, [name, password, "", ""])

    def _groupdel(self, name: str) -> None:
        gid = str(self.gid(name))
        owner = next((row for row in self.rows(PASSWD) if field(row, 3) == gid), None)
        if owner:
            message = f"cannot remove the primary group of user '{owner[0]}'"
            raise AccountError("groupdel", _PRIMARY_GROUP, message)
        self.drop(GROUP, name)
        self.drop(GSHADOW, name)

    # users

    def ensure_user(self, user: User) -> None:
        """One entry of `passwd.users`, without its SSH keys."""
        exists = self.user(user.name) is not None
        if user.should_exist is False:
            if exists:
                self._userdel(user.name)
            return
        _check_fields(
            "usermod" if exists else "useradd",
            comment=user.gecos,
            home=user.home_dir,
            shell=user.shell,
            password=user.password_hash,
        )
        if exists:
            self._usermod(user)
        else:
            self._useradd(user)

    def _useradd(self, user: User) -> None:
        self._check_groups("useradd", user.groups)
        if user.home_dir is not None and not user.home_dir.startswith("/"):
            raise AccountError("useradd", _BAD_ARGUMENT, f"invalid home directory '{user.home_dir}'")
        gid = self._named_gid("useradd", user.primary_group)
        if not _is_name(user.name):
            raise AccountError("useradd", _BAD_ARGUMENT, f"invalid user name '{user.name}'")
        if gid is None and not user.no_user_group and self.group(user.name):
            raise AccountError("useradd", _NAME_TAKEN, f"group {user.name} exists")
        uid = self._chosen_uid(user)
        if gid is None:
            gid = self._own_group(user, uid)
        home = user.home_dir or f"/home/{user.name}"
        shell = user.shell or self._default_shell()
        self.append(PASSWD, [user.name, "x", str(uid), str(gid), user.gecos or "", home, shell])
        self.append(SHADOW, self._shadow_row(user))
        self._set_memberships(user.name, user.groups, keep=True)
        self._add_subordinate_ids(user, uid)
        if not user.no_create_home:
            self._create_home(home, uid, gid)

    def _chosen_uid(self, user: User) -> int:
        if user.uid is None:
            return self._free_id(PASSWD, "UID", system=bool(user.system))
        if not is_id(user.uid):
            raise AccountError("useradd", _BAD_ARGUMENT, f"invalid user ID '{user.uid}'")
        if any(field(row, 2) == str(user.uid) for row in self.rows(PASSWD)):
            raise AccountError("useradd", _ID_TAKEN, f"UID {user.uid} is not unique")
        return user.uid

    def _own_group(self, user: User, uid: int) -> int:
        """A group of the user's own, with the same number where that is free and in range."""
        if user.no_user_group:
            return 100
        taken = {field(row, 2) for row in self.rows(GROUP)}
        low, high = self._range("GID", system=bool(user.system))
        is_free = low <= uid <= high and str(uid) not in taken
        gid = uid if is_free else self._free_id(GROUP, "GID", system=bool(user.system))
        self._add_group(user.name, gid, "!")
        return gid

    def _shadow_row(self, user: User) -> Row:
        aging = ["", "", ""] if user.system else ["0", "99999", "7"]
        return [user.name, user.password_hash or "*", str(self.day), *aging, "", "", ""]

    def _add_subordinate_ids(self, user: User, uid: int) -> None:
        if user.system or not self.login["UID_MIN"] <= uid <= self.login["UID_MAX"]:
            return
        for file, kind in ((SUBUID, "SUB_UID"), (SUBGID, "SUB_GID")):
            if not self.exists(file):
                continue
            ranges = [row[1:3] for row in self.rows(file) if field(row, 1).isdecimal()]
            ends = [int(start) + int(count) for start, count in ranges if count.isdecimal()]
            start = max([self.login[f"{kind}_MIN"], *ends])
            self.append(file, [user.name, str(start), str(self.login[f"{kind}_COUNT"])])

    def _create_home(self, home: str, uid: int, gid: int) -> None:
        path = follow(self.root, home, last=True)
        if self.root.lstat(path) is not None:
            return
        make_parents(self.root, path)
        self.root.mkdir(path, 0o700)
        self._copy("/etc/skel", path)
        self.root.chmod(path, 0o700)
        self._own_tree(path, lambda _uid, _gid: (uid, gid))

    def _copy(self, source: str, target: str) -> None:
        node = self.root.lstat(source)
        if node is None or node.kind is not NodeKind.DIRECTORY:
            return
        for name in self.root.listdir(source):
            old, new = posixpath.join(source, name), posixpath.join(target, name)
            child = self.root.lstat(old)
            if child is None:
                continue
            if child.kind is NodeKind.DIRECTORY:
                self.root.mkdir(new, child.mode)
                self._copy(old, new)
            elif child.kind is NodeKind.LINK:
                self.root.symlink(new, child.target)
            elif child.kind is NodeKind.FILE:
                self.root.write(new, self.root.read(old), child.mode)

    def _own_tree(self, path: str, owner: Callable[[int, int], tuple[int, int]]) -> None:
        node = self.root.lstat(path)
        if node is None:
            return
        uid, gid = owner(node.uid, node.gid)
        if (uid, gid) != (node.uid, node.gid):
            self.root.chown(path, uid, gid)
        if node.kind is NodeKind.DIRECTORY:
            for name in self.root.listdir(path):
                self._own_tree(posixpath.join(path, name), owner)

    def _usermod(self, user: User) -> None:
        self._check_groups("usermod", user.groups)
        row = self.user(user.name)
        assert row is not None
        gid = self._named_gid("usermod", user.primary_group)
        others = {field(other, 2) for other in self.rows(PASSWD) if other[0] != user.name}
        if not is_id(user.uid):
            raise AccountError("usermod", _BAD_ARGUMENT, f"invalid user ID '{user.uid}'")
        if user.uid is not None and str(user.uid) in others:
            raise AccountError("usermod", _ID_TAKEN, f"UID '{user.uid}' already exists")
        changed = list(row)
        values = {2: user.uid, 3: gid, 4: user.gecos, 5: user.home_dir, 6: user.shell}
        for index, value in values.items():
            if value is not None:
                changed[index] = str(value)
        if changed != row:
            self.replace(PASSWD, changed)
        if user.password_hash is not None:
            self.set_password(user.name, user.password_hash)
        if user.groups:
            self._set_memberships(user.name, user.groups, keep=False)
        if user.home_dir is not None and user.home_dir != row[5]:
            self._move_home(row[5], user.home_dir)
        self._rehome(changed, row)

    def _rehome(self, changed: Row, row: Row) -> None:
        """Whatever in the home belonged to the old number belongs to the new one."""
        if changed[2:4] == row[2:4]:
            return
        old, new = (int(row[2]), int(row[3])), (int(changed[2]), int(changed[3]))
        path = self._home(changed[5])
        if path:
            self._own_tree(
                path,
                lambda uid, gid: (new[0] if uid == old[0] else uid, new[1] if gid == old[1] else gid),
            )

    def _move_home(self, old: str, new: str) -> None:
        if not new.startswith("/"):
            raise AccountError("usermod", _BAD_ARGUMENT, f"invalid home directory '{new}'")
        path = self._home(old)
        if path is None:
            return
        target = follow(self.root, new, last=True)
        if self.root.lstat(target) is not None:
            raise AccountError("usermod", _HOME_IN_USE, f"directory {new} exists")
        if self.root.lstat(posixpath.dirname(target)) is None:
            raise AccountError("usermod", _HOME_IN_USE, f"cannot rename directory {old} to {new}")
        self.root.rename(path, target)

    def _userdel(self, name: str) -> None:
        row = self.user(name)
        assert row is not None
        self._set_memberships(name, (), keep=False)
        for file in (PASSWD, SHADOW, SUBUID, SUBGID):
            self.drop(file, name)
        own = self.group(name)
        used = any(field(other, 3) == row[3] for other in self.rows(PASSWD))
        if own and own[2] == row[3] and not own[3] and not used:
            self.drop(GROUP, name)
            self.drop(GSHADOW, name)
        self._remove_home(row)

    def _remove_home(self, row: Row) -> None:
        path = follow(self.root, row[5], last=False)
        node = self.root.lstat(path)
        if node is None or node.kind is not NodeKind.DIRECTORY or str(node.uid) != row[2]:
            raise AccountError("userdel", _HOME_IN_USE, f"{row[5]} not owned by {row[0]}, not removing")
        self.root.remove(path)

    def set_password(self, name: str, password: str) -> None:
        """`usermod --password`; an empty one locks the account."""
        kept = password or "*"
        row = find(self.rows(SHADOW), name, SHADOW_FIELDS)
        if row is not None and row[1] != kept:
            self.replace(SHADOW, [name, kept, str(self.day), *row[3:]])

    # memberships and ids

    def _check_groups(self, tool: str, groups: Iterable[str]) -> None:
        for name in groups:
            if self.group(name) is None:
                raise AccountError(tool, _GROUP_MISSING, f"group '{name}' does not exist")

    def _named_gid(self, tool: str, group: str | None) -> int | None:
        if group is None:
            return None
        gid = self.gid(group)
        if gid is None and group.isdigit() and any(field(row, 2) == group for row in self.rows(GROUP)):
            gid = int(group)
        if gid is None:
            raise AccountError(tool, _GROUP_MISSING, f"group '{group}' does not exist")
        return gid

    def _set_memberships(self, name: str, groups: tuple[str, ...], *, keep: bool) -> None:
        for file in (GROUP, GSHADOW):
            rows = self.rows(file)
            for row in (row for row in rows if len(row) >= GROUP_FIELDS):
                members = [m for m in row[3].split(",") if m]
                if row[0] in groups and name not in members:
                    members.append(name)
                elif not keep and row[0] not in groups and name in members:
                    members.remove(name)
                row[3] = ",".join(members)
            self.save(file, rows)

    def _range(self, kind: str, *, system: bool) -> tuple[int, int]:
        if system:
            return self.login[f"SYS_{kind}_MIN"], self.login[f"{kind}_MIN"] - 1
        return self.login[f"{kind}_MIN"], self.login[f"{kind}_MAX"]

    def _free_id(self, file: str, kind: str, *, system: bool) -> int:
        low, high = self._range(kind, system=system)
        taken = {int(row[2]) for row in self.rows(file) if has_numbers(row, GROUP_FIELDS)}
        used = [number for number in taken if low <= number <= high]
        if system:
            below: int = min([high + 1, *used]) - 1
            numbers = chain([below], range(high, low - 1, -1))
            return _first((n for n in numbers if n >= low and n not in taken), kind)
        start: int = max([low - 1, *used]) + 1
        return _first((n for n in chain(range(start, high + 1), range(low, start)) if n not in taken), kind)

    def _default_shell(self) -> str:
        return settings(self.root, "/etc/default/useradd", "=").get("SHELL", "/bin/sh")

    def _home(self, path: str) -> str | None:
        try:
            real = follow(self.root, path, last=True)
        except RootError:
            return None
        node = self.root.lstat(real)
        return real if node is not None and node.kind is NodeKind.DIRECTORY else None


def _first(numbers: Iterator[int], kind: str) -> int:
    number = next(numbers, None)
    if number is None:
        tool = "useradd" if kind == "UID" else "groupadd"
        raise AccountError(tool, _ID_TAKEN, f"no {kind} is free")
    return number


def _check_fields(tool: str, **fields: str | None) -> None:
    """Nothing may end a field or a record of the account files."""
    for name, value in fields.items():
        if value is not None and not {":", "\n"}.isdisjoint(value):
            raise AccountError(tool, _BAD_ARGUMENT, f"invalid {name} {value!a}")


def _is_name(name: str) -> bool:
    plain = _NAME.fullmatch(name) is not None and len(name) <= _NAME_LIMIT
    return plain and not name.isdigit() and name not in (".", "..")
