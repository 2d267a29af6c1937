"""Butane (variant `flatcar`) → Ignition, in the reference's order of passes.

Variant and version; decoding; unused keys; checks of what is written; translation; what the version refuses;
duplicates and Ignition's own validation of the result. A pass with errors ends it. Source: Butane's
documentation, "Flatcar Specification", and the reference's answers.
"""

from __future__ import annotations

from flatyard.base.errors import Position, Problem, Severity
from flatyard.base.patterns import pattern
from flatyard.base.values import dataclass, replace
from flatyard.butane import source
from flatyard.butane.check import check
from flatyard.butane.files import NO_FILES_DIR, FilesDir, LocalFileError, inside
from flatyard.butane.origins import Origins
from flatyard.butane.places import placed
from flatyard.butane.reading import read_common, read_config
from flatyard.butane.resources import Resources
from flatyard.butane.syntax import YamlError, parse
from flatyard.butane.versions import VERSIONS, Version
from flatyard.decode.node import Node
from flatyard.ignition import encode, encode_pretty, spec, types
from flatyard.ignition.duplicates import duplicates
from flatyard.ignition.report import Entry, Path, error, is_fatal
from flatyard.ignition.types import Config, Systemd
from flatyard.ignition.validate import problems

VARIANT = "flatcar"
_SOURCE_INVALID = "source config is invalid"
_RESULT_INVALID = "config generated was invalid"
_UNWRITTEN, _EMPTY = source.Config(), Config()
_LINE_END = pattern(r"\r?\n")


@dataclass(frozen=True, slots=True)
class Translation:
    """The generated config (`None` when there were errors), every finding with its place in the YAML, and
    the reference's last word when it gave up (`error`, empty when it did not)."""

    config: Config | None
    report: tuple[Entry, ...] = ()
    error: str = ""
    file: str = "<input>"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The same as flatyard's commands print it; what has no place of its own is about the whole file."""
        found = tuple(entry.problem(self.file) for entry in self.report)
        if self.config is not None or any(problem.severity is Severity.ERROR for problem in found):
            return found
        return (*found, Problem(Severity.ERROR, Position(self.file, 1, 1), "", self.error))

    def output(self, *, pretty: bool = False) -> bytes:
        """The JSON that Butane prints, with its trailing newline; nothing when there is no config."""
        if self.config is None:
            return b""
        return encode_pretty(self.config) if pretty else encode(self.config, newline=True)


def translate(text: bytes | str, *, file: str = "<input>", files: FilesDir | None = None) -> Translation:
    """A Butane document as an Ignition config. Never raises for bad input.

    `file` names the document in problems; `files` is where `local:` paths count from, without it they are
    errors.
    """
    return replace(_translate_text(text, files), file=file)


def _translate_text(text: bytes | str, files: FilesDir | None) -> Translation:
    try:
        root = parse(text)
        variant, name = read_common(root)
    except YamlError as problem:
        return Translation(None, error=f"Error unmarshaling yaml: {problem}")
    if not variant:
        return Translation(None, error="error parsing variant; must be specified")
    if name not in VERSIONS and not spec.is_version(name):
        return Translation(None, error="error parsing version; must be a valid semver")
    version = VERSIONS.get(name) if variant == VARIANT else None
    if version is None:
        what = f"No translator exists for variant {variant} with version {name}"
        return Translation(None, error=what)
    try:
        config, is_whole = read_config(root, version)
    except YamlError as problem:
        return Translation(None, error=str(problem))
    unused = () if is_whole else _unused_keys(config, root, version)
    return _translate(config, unused, root, version, files)


def _unused_keys(config: source.Config, root: Node, version: Version) -> tuple[Entry, ...]:
    from flatyard.butane.unused import unused_keys

    return unused_keys(config, root, version)


def _translate(
    config: source.Config, unused: tuple[Entry, ...], root: Node, version: Version, files: FilesDir | None
) -> Translation:
    report = unused + check(config, version)
    if is_fatal(report):
        return Translation(None, placed(report, root), _SOURCE_INVALID)
    origins = Origins()
    result, found = _Builder(config, version, files, origins).build()
    report += found
    if not is_fatal(report):
        report += _refused(config, version)
    if is_fatal(report):
        return Translation(None, placed(report, root), _SOURCE_INVALID)
    report += origins.translate(duplicates(result) + problems(result), result)
    if is_fatal(report):
        return Translation(None, placed(report, root), _RESULT_INVALID)
    return Translation(result, placed(report, root))


def _refused(config: source.Config, version: Version) -> tuple[Entry, ...]:
    """What the version knows but does not pass on."""
    found = []
    for index, volume in enumerate(config.storage.luks):
        at = ("storage", "luks", index)
        if not version.has_clevis and volume.clevis != types.Clevis():
            found.append(error("clevis is not supported in this spec version", (*at, "clevis")))
        if version.refuses_cex and volume.cex != types.Cex():
            text = "cex is not currently supported on the target platform"
            found.append(error(text, (*at, "cex")))
    return tuple(found)


class _Builder:
    def __init__(
        self, config: source.Config, version: Version, files: FilesDir | None, origins: Origins
    ) -> None:
        self.written = config
        self.version = version
        self.files = files
        self.origins = origins
        self.resources = Resources(files, origins)

    def build(self) -> tuple[Config, tuple[Entry, ...]]:
        """The generated config and findings by YAML path."""
        config = Config(
            ignition=self.ignition(),
            kernel_arguments=self.written.kernel_arguments,
            passwd=_EMPTY.passwd if self.written.passwd is _UNWRITTEN.passwd else self.passwd(),
            storage=_EMPTY.storage if self.written.storage is _UNWRITTEN.storage else self.storage(),
            systemd=_EMPTY.systemd if self.written.systemd is _UNWRITTEN.systemd else self.systemd(),
        )
        config = self.with_mount_units(config)
        config, tree_findings = self.with_trees(config)
        config, quadlet_findings = self.with_quadlets(config)
        return config, (*self.resources.found, *tree_findings, *quadlet_findings)

    def ignition(self) -> types.Ignition:
        self.origins.made["ignition", "version"] = ("version",)
        written = self.written.ignition
        if written is _UNWRITTEN.ignition:
            return types.Ignition(version=self.version.emits)
        at = ("ignition", "config")
        merged = tuple(
            self.resources.translate(item, (*at, "merge", index), (*at, "merge", index))
            for index, item in enumerate(written.config.merge)
        )
        replaced = self.resources.translate(written.config.replace, (*at, "replace"), (*at, "replace"))
        tls = ("ignition", "security", "tls")
        authorities = tuple(
            self.resources.translate(
                item, (*tls, "certificate_authorities", index), (*tls, "certificateAuthorities", index)
            )
            for index, item in enumerate(written.security.tls.certificate_authorities)
        )
        return types.Ignition(
            types.ConfigRefs(merged, replaced),
            written.proxy,
            types.Security(types.Tls(authorities)),
            written.timeouts,
            self.version.emits,
        )

    # passwd

    def passwd(self) -> types.Passwd:
        users = tuple(self.user(user, index) for index, user in enumerate(self.written.passwd.users))
        return types.Passwd(self.written.passwd.groups, users)

    def user(self, user: source.User, index: int) -> types.User:
        at = ("passwd", "users", index)
        keys = list(user.ssh_authorized_keys)
        for position, local in enumerate(user.ssh_authorized_keys_local):
            origin = (*at, "ssh_authorized_keys_local", position)
            for line in self.key_lines(local, origin):
                self.origins.made[*at, "sshAuthorizedKeys", len(keys)] = origin
                keys.append(line)
            if self.files is None:
                break
        return types.User(
            user.gecos,
            user.groups,
            user.home_dir,
            user.name,
            user.no_create_home,
            user.no_log_init,
            user.no_user_group,
            user.password_hash,
            user.primary_group,
            tuple(keys),
            user.shell,
            user.should_exist,
            user.system,
            user.uid,
        )

    def key_lines(self, local: str, at: Path) -> list[str]:
        """The lines of a key file; comments and blanks count as keys too, only empty lines do not."""
        if self.files is None:
            self.resources.found.append(error(NO_FILES_DIR, at[:-1]))
            return []
        try:
            text = self.files.read(inside(local)).decode("utf-8", "replace")
        except LocalFileError as problem:
            self.resources.found.append(error(str(problem), at))
            return []
        return [line for line in _LINE_END.split(text) if line]

    # storage

    def storage(self) -> types.Storage:
        written = self.written.storage
        return types.Storage(
            directories=written.directories,
            disks=written.disks,
            files=tuple([self.file(file, index) for index, file in enumerate(written.files)]),
            filesystems=tuple(map(_filesystem, written.filesystems)),
            links=written.links,
            luks=tuple(self.luks(volume, index) for index, volume in enumerate(written.luks)),
            raid=written.raid,
        )

    def file(self, file: source.File, index: int) -> types.File:
        at = ("storage", "files", index)
        append = tuple(
            [self.resource(item, (*at, "append", place)) for place, item in enumerate(file.append)]
        )
        contents = self.resource(file.contents, (*at, "contents"))
        return types.File(file.group, file.overwrite, file.path, file.user, append, contents, file.mode)

    def resource(self, written: source.Resource, at: Path) -> types.Resource:
        """One whose path is the same on both sides."""
        return self.resources.translate(written, at, at)

    def luks(self, volume: source.Luks, index: int) -> types.Luks:
        at = ("storage", "luks", index)
        key_file = self.resources.translate(volume.key_file, (*at, "key_file"), (*at, "keyFile"))
        return types.Luks(
            volume.cex,
            volume.clevis,
            volume.device,
            volume.discard,
            key_file,
            volume.label,
            volume.name,
            volume.open_options,
            volume.options,
            volume.uuid,
            volume.wipe_volume,
        )

    # systemd

    def systemd(self) -> Systemd:
        return Systemd(
            tuple([self.unit(unit, index) for index, unit in enumerate(self.written.systemd.units)])
        )

    def unit(self, unit: source.Unit, index: int) -> types.Unit:
        at = ("systemd", "units", index)
        contents = self.resources.text(unit.contents, unit.contents_local, at, at)
        dropins = tuple(
            [self.dropin(dropin, (*at, "dropins", place)) for place, dropin in enumerate(unit.dropins)]
        )
        return types.Unit(contents, dropins, unit.enabled, unit.mask, unit.name)

    def dropin(self, dropin: source.Dropin, at: Path) -> types.Dropin:
        contents = self.resources.text(dropin.contents, dropin.contents_local, at, at)
        return types.Dropin(contents, dropin.name)

    # What few configs have is imported by those alone: a module takes as long as a small file.

    def with_trees(self, config: Config) -> tuple[Config, tuple[Entry, ...]]:
        """The trees' files and links added; findings by YAML path."""
        trees = self.written.storage.trees
        if not trees:
            return config, ()
        from flatyard.butane.trees import add_trees

        return add_trees(config, trees, self.files, self.origins)

    def with_quadlets(self, config: Config) -> tuple[Config, tuple[Entry, ...]]:
        """The quadlets' files and links added; findings by YAML path."""
        quadlets = self.written.systemd.quadlets
        if not quadlets:
            return config, ()
        from flatyard.butane.quadlets import add_quadlets

        return add_quadlets(config, quadlets, self.files, self.origins)

    def with_mount_units(self, config: Config) -> Config:
        """Generated units come first; what the user writes about one of them is laid over it."""
        written = self.written.storage
        if not written.filesystems:
            return config
        from flatyard.butane.mounts import mount_unit
        from flatyard.ignition.merge import merge

        units = []
        for index, filesystem in enumerate(written.filesystems):
            if filesystem.with_mount_unit:
                origin = ("storage", "filesystems", index, "with_mount_unit")
                units.append((mount_unit(filesystem, written.luks), origin))
        generated = Config(systemd=Systemd(tuple(unit for unit, _ in units)))
        self.note_moved_units([(unit.name, origin) for unit, origin in units], config.systemd.units)
        return merge(generated, config)

    def note_moved_units(self, generated: list[tuple[str, Path]], units: tuple[types.Unit, ...]) -> None:
        """Where each unit of the merged list came from, before the merge makes them one."""
        names = {name for name, _ in generated}
        last = {unit.name: index for index, unit in enumerate(units)}
        before = self.origins.made
        self.origins.made = {p: o for p, o in before.items() if p[:2] != ("systemd", "units")}
        local: dict[str | int, dict[Path, Path]] = {}
        for path, origin in before.items():
            if path[:2] == ("systemd", "units"):
                local.setdefault(path[2], {})[path[3:]] = origin
        for position, (name, origin) in enumerate(generated):
            if name in last:
                index = last[name]
                self.note_overlaid(position, origin, index, units[index], local.get(index, {}))
            else:
                self.origins.made["systemd", "units", position] = origin
        rest = [index for index, unit in enumerate(units) if unit.name not in names]
        for position, index in enumerate(rest, len(generated)):
            self.origins.moved["systemd", "units", position] = ("systemd", "units", index)
            self.note_local(position, local.get(index, {}))

    def note_overlaid(
        self, position: int, origin: Path, index: int, unit: types.Unit, local: dict[Path, Path]
    ) -> None:
        """A generated unit that the user writes about is the user's, but for the fields left to the generated."""
        self.origins.moved["systemd", "units", position] = ("systemd", "units", index)
        for name in ("contents", "dropins", "enabled", "mask", "name"):
            if getattr(unit, name) in (None, ()):
                self.origins.made["systemd", "units", position, name] = origin
        self.note_local(position, local)

    def note_local(self, position: int, local: dict[Path, Path]) -> None:
        for path, origin in local.items():
            self.origins.made["systemd", "units", position, *path] = origin


def _filesystem(filesystem: source.Filesystem) -> types.Filesystem:
    return types.Filesystem(
        filesystem.device,
        filesystem.format,
        filesystem.label,
        filesystem.mount_options,
        filesystem.options,
        filesystem.path,
        filesystem.uuid,
        filesystem.wipe_filesystem,
    )
