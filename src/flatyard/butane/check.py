"""What can be said about a Butane config before translating it: sources, mount units, modes, local files."""

from __future__ import annotations

from flatyard.butane import source
from flatyard.butane.versions import Version
from flatyard.ignition.report import Entry, Path, error, warning

_DECIMAL_MODE = "unreasonable mode would be reasonable if specified in octal; remember to add a leading zero"
_SOURCES = "only one of the following can be set: inline, local, source"
_CONTENTS = "only one of the following can be set: contents, contents_local"
# The reference's spelling of "unknown".
_UNKNOWN_VERSION = "skipping validation for the merge/replace ignition config due to an unkown version"
_DECIMAL_DIGITS_MAX = 7777
_EVERYDAY = (0o644, 0o600, 0o755, 0o700)


def check(config: source.Config, version: Version) -> tuple[Entry, ...]:
    """Findings by YAML path, without places."""
    found: list[Entry] = []
    _check_ignition(config.ignition, version, found)
    _check_storage(config.storage, found)
    for index, unit in enumerate(config.systemd.units):
        _check_texts(unit, ("systemd", "units", index), found)
        for position, dropin in enumerate(unit.dropins):
            _check_texts(dropin, ("systemd", "units", index, "dropins", position), found)
    for index, quadlet in enumerate(config.systemd.quadlets):
        _check_quadlet(quadlet, ("systemd", "quadlets", index), found)
    return tuple(found)


def _check_ignition(ignition: source.Ignition, version: Version, found: list[Entry]) -> None:
    at = ("ignition", "config")
    references: dict[Path, source.Resource] = {}
    for index, item in enumerate(ignition.config.merge):
        references[*at, "merge", index] = item
    references[*at, "replace"] = ignition.config.replace
    for path, resource in references.items():
        if _check_resource(resource, path, found) and resource.inline is not None:
            _check_inline_config(resource.inline, path, version, found)
    authorities = ignition.security.tls.certificate_authorities
    for index, resource in enumerate(authorities):
        at_one = ("ignition", "security", "tls", "certificate_authorities", index)
        _check_resource(resource, at_one, found)


def _check_inline_config(text: str, at: Path, version: Version, found: list[Entry]) -> None:
    from flatyard.ignition.parse import check_fragment  # most configs have no other inside

    entries, is_read = check_fragment(text.encode("utf-8", "replace"), version.emits)
    found += entries
    if entries and not is_read:
        found.append(error("config is not valid", (*at, "inline")))
    elif not is_read:
        found.append(warning(_UNKNOWN_VERSION, (*at, "version")))


def _check_resource(resource: source.Resource, at: Path, found: list[Entry]) -> bool:
    absent = (resource.local is None) + (resource.inline is None) + (resource.source is None)
    if absent >= 2:
        return True
    given = [name for name in ("local", "inline", "source") if getattr(resource, name) is not None]
    found.append(error(_SOURCES, (*at, given[-1])))
    return False


def _check_storage(storage: source.Storage, found: list[Entry]) -> None:
    for index, directory in enumerate(storage.directories):
        _check_mode(directory.mode, ("storage", "directories", index, "mode"), found, directory=True)
    for index, file in enumerate(storage.files):
        at = ("storage", "files", index)
        _check_mode(file.mode, (*at, "mode"), found, directory=False)
        for position, resource in enumerate(file.append):
            _check_resource(resource, (*at, "append", position), found)
        _check_resource(file.contents, (*at, "contents"), found)
    for index, filesystem in enumerate(storage.filesystems):
        _check_filesystem(filesystem, ("storage", "filesystems", index), found)
    for index, volume in enumerate(storage.luks):
        _check_resource(volume.key_file, ("storage", "luks", index, "key_file"), found)
    for index, tree in enumerate(storage.trees):
        if not tree.local:
            found.append(error("local is required", ("storage", "trees", index)))


def _check_filesystem(filesystem: source.Filesystem, at: Path, found: list[Entry]) -> None:
    if not filesystem.with_mount_unit:
        return
    if not filesystem.format:
        found.append(error("format is required if with_mount_unit is true", (*at, "format")))
    elif filesystem.format != "swap" and not filesystem.path:
        text = "path is required if with_mount_unit is true and format is not swap"
        found.append(error(text, (*at, "path")))


def _check_texts(entry: source.Unit | source.Dropin, at: Path, found: list[Entry]) -> None:
    if entry.contents is not None and entry.contents_local is not None:
        found.append(error(_CONTENTS, (*at, "contents_local")))


def _check_quadlet(quadlet: source.Quadlet, at: Path, found: list[Entry]) -> None:
    from flatyard.butane.quadlets import extension_problem, template_of  # few configs have any

    problem = extension_problem(quadlet.name)
    if problem:
        found.append(error(problem, (*at, "name")))
    elif template_of(quadlet.name):
        for name in ("contents", "contents_local"):
            if getattr(quadlet, name) is not None:
                text = "template instances cannot have contents or contents_local"
                found.append(error(text, (*at, name)))
    elif quadlet.contents is not None and quadlet.contents_local is not None:
        found.append(error(_CONTENTS, (*at, "contents_local")))
    for position, dropin in enumerate(quadlet.dropins):
        if dropin.contents is not None and dropin.contents_local is not None:
            found.append(error(_CONTENTS, (*at, "dropins", position, "contents_local")))


# Modes that were meant in octal


def _check_mode(mode: int | None, at: Path, found: list[Entry], *, directory: bool) -> None:
    if (
        mode is None
        or mode in _EVERYDAY
        or not 0 <= mode <= _DECIMAL_DIGITS_MAX
        or set(str(mode)) & set("89")
    ):
        return
    if not _is_typical(mode, directory=directory) and _is_typical(int(str(mode), 8), directory=directory):
        found.append(warning(_DECIMAL_MODE, at))


def _is_typical(mode: int, *, directory: bool) -> bool:
    """Whether a mode is one that people set on purpose."""
    if mode == 0:
        return True
    classes = [mode >> shift & 7 for shift in (0, 3, 6)]
    if not _are_classes_ordered(classes):
        return False
    readable, writable, executable = (any(c & bit for c in classes) for bit in (4, 2, 1))
    if not readable:
        return False
    if directory:
        return executable and not mode & 0o4000 and not (mode & 0o3000 and not writable)
    return not mode & 0o1000 and not (mode & 0o6000 and (not executable or mode & 2))


def _are_classes_ordered(classes: list[int]) -> bool:
    """From others to owner, each may do what the one before may, and nobody writes or runs unread."""
    before = 0
    for permissions in classes:
        if before & ~permissions or (permissions & 3 and not permissions & 4):
            return False
        if permissions & 1 and before & 4 and not before & 1:
            return False
        before |= permissions
    return True
