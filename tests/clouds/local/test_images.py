"""The user's own image: a directory with usr/, or a Flatcar disk image, packed or not. Bad ones are refused by name.

No published Flatcar image is in here, since none can be fetched: the images are made in Flatcar's layout. The
partition table of the fast tests was written by sfdisk, so that no code of ours is on both sides.
"""

from __future__ import annotations

import asyncio
import base64
import bz2
import json
import os
import struct
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Severity
from flatyard.clouds.cloud import ClusterRef, CreateRequest, ImageQuery, Instance, Rejected, Role
from flatyard.clouds.local import (
    built_in,
    disk_image,
    evidence,
    flatcar_root,
    gpt,
    images,
    loops,
    networks,
    os_release,
    preflight,
    processes,
    rootfs,
    settings,
    stand_in,
)
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.folders import clusters
from flatyard.clouds.local.settings import LocalSettings, architecture
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine
from flatyard.model.meta import ObjectMeta

TABLE = zlib.decompress(
    base64.b64decode(
        "eNrt019IU1EcB/DftKCXNIMesofNF5PRpREIZcxtrnm9W+3KNolCjWRikiiaIFNTWQriP6hAZPQQ9IcSQSOiFF8MlFZQoGj6sCVp"
        "SC9jw/yDjtapXYM79tJ8afD9XO695/4558vv3nOIIJmlUCASiShYK3r8NyXDpkJBVWywOYgUVMru+JVO9e8ne2P9HfVQ9OSXrnUP"
        "7gU/L5jF+1VdC2p7dThFer9D2l3fGjLwd/5/ObfUU8rt2YwJCz305nvPh7qbz51qsgyNPfet6xXCEB2R5oFS3s9EhSQQR3a6wnYH"
        "u76UUH7R9RtZgrOuttFaWelkk/Gd+H5raUT89HgtN+xyr+SRSso/Le9XwNJFlsyxlsg2R4L1/9jYLSvKGbEMlx/2qF6bnpq9mvq8"
        "rKvWgeyaj4MVoTOkkfJHY1YOy7axdMM+v39sfumcdplr5c0vf54MXe540kpje/Ur4uYXJPn8G9XOpN/pbOAHXNrqRf726tGvdbtr"
        "By/Si5vjvuNC8BVponVHdPL6xYRnnFzm2zJv2he9sb8l+8OOJ3XZn7s12F4rzPfOt4Uf3Z3WkV7KF+Plc2RkLeuftcAn5fc3+DrP"
        "ursOXBh/9v2NyG2k2Zd6p/gTxoCnpGeyb3PzGBVL9V+T12/b16oDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIB4fgHjAaMC"
    )
)
"""The first 34 sectors of a disk of 64 MiB: sfdisk's, with the labels, numbers and types of Flatcar's partitions."""
SIZE = 64 << 20
USR = 12288 * 512
USR_SIZE = 32768 * 512
USR_ENTRY = 1024 + 2 * 128
OTHER_ARCH = "arm64" if architecture() == "amd64" else "amd64"
OS_RELEASE = """ID=flatcar\nVERSION_ID={version}\nFLATCAR_BOARD={arch}-usr\n"""


@pytest.fixture
def nowhere(tmp_path: Path) -> LocalSettings:
    """A machine on which nothing was made yet, its cache included."""
    return LocalSettings(home=tmp_path / "home", cache=tmp_path / "cache")


def disk(path: Path, table: bytes = TABLE, *, size: int = SIZE, magic: bytes = b"\x53\xef") -> Path:
    """An image whose USR-A has the magic number of ext4 and nothing else."""
    with path.open("wb") as file:
        file.write(table)
        file.seek(USR + 0x438)
        file.write(magic)
        file.truncate(size)
    return path


def changed(at: int, value: bytes) -> bytes:
    """The table with other bytes at a place, and right checksums again."""
    table = bytearray(TABLE)
    table[at : at + len(value)] = value
    entries = zlib.crc32(table[1024 : 1024 + 128 * 128])
    struct.pack_into("<I", table, 512 + 88, entries)
    struct.pack_into("<I", table, 512 + 16, 0)
    struct.pack_into("<I", table, 512 + 16, zlib.crc32(table[512 : 512 + 92]))
    return bytes(table)


def labelled(label: str) -> bytes:
    return changed(USR_ENTRY + 56, label.encode("utf-16-le").ljust(72, b"\0"))


def tree(path: Path, text: str = OS_RELEASE.format(version="4593.2.5", arch=architecture())) -> Path:
    (path / "usr/lib").mkdir(parents=True)
    (path / "usr/lib/os-release").write_text(text)
    return path


def cluster(image: object = "", **spec: object) -> model.Cluster:
    local = model.LocalCloud(image=str(image))
    given = {"cloud": model.CloudChoice(local=local), **spec}
    return model.Cluster(metadata=ObjectMeta(name="prod"), spec=model.ClusterSpec(**given))  # type: ignore[arg-type]


def refusal(place: LocalSettings, path: Path, **spec: object) -> str:
    """The one thing that preflight has against an image, which must be at the field that names it."""
    found = [
        p for p in preflight.problems(place, cluster(path, **spec)) if p.path == "spec.cloud.local.image"
    ]
    (problem,) = found
    assert problem.severity is Severity.ERROR
    return problem.what


# ---- the partition table


def test_the_table_that_sfdisk_wrote_is_read_as_it_is(tmp_path: Path) -> None:
    found = {
        p.label: (p.number, p.start, p.size) for p in gpt.partitions(reader(disk(tmp_path / "disk.bin")))
    }
    assert list(found) == ["EFI-SYSTEM", "BIOS-BOOT", "USR-A", "USR-B", "OEM", "OEM-CONFIG", "ROOT"]
    assert found["USR-A"] == (3, USR, USR_SIZE) and found["ROOT"][0] == 9


def reader(path: Path) -> gpt.Read:
    raw = path.read_bytes()
    return lambda offset, size: raw[offset : offset + size]


@pytest.mark.parametrize("at", [511, 512, 519, 524, 528, 536, 584, 592, 596, 600, 1024, 1024 + 128 * 128 - 1])
def test_no_byte_of_the_table_that_counts_may_be_another(tmp_path: Path, at: int) -> None:
    table = bytearray(TABLE)
    table[at] ^= 0x55
    with pytest.raises(gpt.ImageError):
        disk_image.look(disk(tmp_path / "disk.bin", bytes(table)))


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 700, 1024, 1100, 34 * 512 - 1, 34 * 512, USR, USR + USR_SIZE - 1]
)
def test_a_cut_image_is_refused_wherever_it_was_cut(tmp_path: Path, size: int) -> None:
    path = disk(tmp_path / "disk.bin")
    os.truncate(path, size)
    with pytest.raises(gpt.ImageError) as refused:
        disk_image.look(path)
    assert refused.value.at is not None


# ---- what preflight refuses, before anything is made


def test_an_image_that_is_not_there_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    assert (
        refusal(nowhere, tmp_path / "none.bin")
        == f"{tmp_path}/none.bin cannot be read: No such file or directory"
    )


def test_a_file_that_is_no_disk_is_refused_with_the_byte(nowhere: LocalSettings, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a disk\n" * 100)
    assert "byte 510: no disk image" in refusal(nowhere, tmp_path / "notes.txt")
    (tmp_path / "disk.bin").write_bytes(TABLE[:512] + bytes(9999))
    assert "byte 512: no GPT" in refusal(nowhere, tmp_path / "disk.bin")
    (tmp_path / "disk.img").write_bytes(b"QFI\xfb" + bytes(9999))
    assert "flatcar_production_image.bin.bz2 is the one to take" in refusal(nowhere, tmp_path / "disk.img")


def test_a_disk_without_usr_a_is_refused_with_the_labels_that_it_has(
    nowhere: LocalSettings, tmp_path: Path
) -> None:
    what = refusal(nowhere, disk(tmp_path / "disk.bin", labelled("rootfs")))
    assert "no partition USR-A" in what and "there are: EFI-SYSTEM, BIOS-BOOT, rootfs, USR-B" in what


def test_a_usr_a_of_another_type_is_refused_at_its_entry(nowhere: LocalSettings, tmp_path: Path) -> None:
    what = refusal(nowhere, disk(tmp_path / "disk.bin", changed(USR_ENTRY, bytes(15) + b"\1")))
    assert f"byte {USR_ENTRY}: USR-A has type" in what


def test_a_truncated_image_is_refused_with_its_end(nowhere: LocalSettings, tmp_path: Path) -> None:
    what = refusal(nowhere, disk(tmp_path / "disk.bin", size=USR + 4096))
    assert f"byte {USR + 4096}: the image ends before USR-A does" in what


def test_a_file_system_that_nobody_knows_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    what = refusal(nowhere, disk(tmp_path / "disk.bin", magic=b"??"))
    assert f"byte {USR}: no file system in USR-A that is known: btrfs, ext4, squashfs" in what


def test_a_kernel_without_the_file_system_is_told_with_what_helps(
    nowhere: LocalSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "_has", lambda _: False)
    what = refusal(nowhere, disk(tmp_path / "disk.bin"))
    assert "USR-A is ext4, which this kernel does not know; sudo modprobe ext4" in what


def test_a_packed_image_that_is_no_disk_is_refused_at_once(nowhere: LocalSettings, tmp_path: Path) -> None:
    path = tmp_path / "disk.bin.bz2"
    path.write_bytes(bz2.compress(bytes(1 << 21)))
    assert "byte 510: no disk image" in refusal(nowhere, path)


def opened(place: LocalSettings, path: Path) -> str:
    (problem,) = asyncio.run(preflight.opened_image(replace(place, image=str(path)), cluster(path)))
    assert problem.path == "spec.cloud.local.image"
    return problem.what


def packed(path: Path) -> Path:
    """A packed image with something in USR-A that does not pack well, in several streams as pbzip2 makes them."""
    raw = bytearray(disk(path.with_suffix(".bin")).read_bytes())
    raw[USR + (1 << 20) : USR + (2 << 20)] = bytes((n * n * 7919 >> 5) & 255 for n in range(1 << 20))
    path.write_bytes(
        b"".join(bz2.compress(bytes(raw[at : at + (8 << 20)])) for at in range(0, SIZE, 8 << 20))
    )
    return path


def test_a_packed_image_that_is_cut_is_refused_and_leaves_nothing(
    nowhere: LocalSettings, tmp_path: Path
) -> None:
    path = packed(tmp_path / "disk.bin.bz2")
    whole = path.stat().st_size
    for size in (whole - 5, whole // 2):
        os.truncate(path, size)
        assert f"it is cut: bzip2's data go on after its {size} bytes" in opened(nowhere, path)
    assert [p.suffix for p in (nowhere.cache / "local/disk-images").iterdir()] == [".lock", ".lock"]


def test_a_packed_image_that_ends_within_usr_a_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    path = tmp_path / "disk.bin.bz2"
    path.write_bytes(bz2.compress(disk(tmp_path / "disk.bin").read_bytes()[: USR + (9 << 20)]))
    assert f"byte {USR + (9 << 20)}: the image ends before USR-A does" in opened(nowhere, path)


def test_a_packed_image_that_is_damaged_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    path = packed(tmp_path / "disk.bin.bz2")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    assert "its bzip2 data are damaged" in opened(nowhere, path)


def test_an_image_without_room_to_unpack_it_is_refused(
    nowhere: LocalSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "size", lambda _: 20 << 20)
    assert "takes about 32 MiB below" in refusal(nowhere, disk(tmp_path / "disk.bin"))


def test_a_directory_that_is_no_tree_of_an_os_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is no root tree, since it holds no usr/" in refusal(nowhere, tmp_path / "empty")
    (tmp_path / "bare/usr/lib").mkdir(parents=True)
    assert "has no usr/lib/os-release" in refusal(nowhere, tmp_path / "bare")


@pytest.mark.parametrize("said", ["ARCHITECTURE={}\n", "FLATCAR_BOARD={}-usr\n"])
def test_an_image_for_another_architecture_is_refused(
    nowhere: LocalSettings, tmp_path: Path, said: str
) -> None:
    name = {"amd64": "x86-64"}.get(OTHER_ARCH, OTHER_ARCH) if "BOARD" not in said else OTHER_ARCH
    made = tree(tmp_path / "tree", "ID=flatcar\nVERSION_ID=4593.2.5\n" + said.format(name))
    assert f"for {OTHER_ARCH}, and this machine is {architecture()}" in refusal(nowhere, made)


def test_an_image_of_another_release_than_asked_for_is_refused(
    nowhere: LocalSettings, tmp_path: Path
) -> None:
    wanted = cluster(tree(tmp_path / "tree"), flatcar=model.Flatcar(version="4081.3.10"))
    told = {problem.path: problem for problem in preflight.problems(nowhere, wanted)}
    assert "only Flatcar 4593.2.5 of" in told["spec.flatcar.version"].what
    assert told["spec.flatcar.version"].suggestion == "4593.2.5"


def test_the_variable_is_named_where_it_named_the_image(nowhere: LocalSettings, tmp_path: Path) -> None:
    told = [p.what for p in preflight.problems(replace(nowhere, image=str(tmp_path / "none")), cluster())]
    assert f"{tmp_path}/none cannot be read: No such file or directory (FLATYARD_LOCAL_IMAGE)" in told


# ---- which image it is, and what it is called


def test_the_file_s_image_is_used_before_the_variable_s(nowhere: LocalSettings) -> None:
    everywhere = settings.settings({"FLATYARD_LOCAL_IMAGE": "/srv/all"})
    assert settings.for_cluster(everywhere, cluster("/srv/mine.bin")).image == "/srv/mine.bin"
    assert settings.for_cluster(everywhere, cluster()).image == "/srv/all"
    assert settings.for_cluster(nowhere, cluster()).image == ""


def test_an_image_is_called_what_it_is(nowhere: LocalSettings, tmp_path: Path) -> None:
    plain = images.made_of(nowhere)
    assert (plain.words, plain.stand_in) == ("containers of a stand-in for Flatcar", True)
    mine = images.made_of(replace(nowhere, image=str(tree(tmp_path / "mine"))))
    assert (mine.words, mine.stand_in) == (f"containers of Flatcar 4593.2.5 of {tmp_path}/mine", False)
    text = OS_RELEASE.format(version="4593.2.5", arch=architecture()) + f"VARIANT_ID={os_release.STAND_IN}\n"
    copied = images.made_of(replace(nowhere, image=str(tree(tmp_path / "copied", text))))
    assert (copied.words, copied.stand_in) == (
        f"containers of a stand-in for Flatcar 4593.2.5 of {tmp_path}/copied",
        True,
    )
    gone = images.made_of(replace(nowhere, image="/none.bin"))
    assert (gone.words, gone.stand_in) == ("containers of /none.bin", False)


def test_a_directory_answers_for_its_own_release_and_architecture(
    nowhere: LocalSettings, tmp_path: Path
) -> None:
    mine = replace(nowhere, image=str(tree(tmp_path / "tree")))
    (found,) = images.images(mine, ImageQuery("stable", None, arch=architecture()))
    assert (found.reference, found.version) == (str(tmp_path / "tree"), "4593.2.5")
    assert "stand-in" not in found.name
    assert images.images(mine, ImageQuery("stable", "4081.3.10", arch=architecture())) == ()
    assert images.images(mine, ImageQuery("stable", None, arch=OTHER_ARCH)) == ()


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Mounting needs root: what a partition has in it is made up instead. The places where it was put."""
    made: list[Path] = []

    async def copy(source: Path, start: int, size: int, place: Path, tell: Callable[[str], None]) -> None:
        made.append(place)
        tree(place / "tree")

    monkeypatch.setattr(disk_image, "_copy", copy)
    return made


def test_a_packed_image_is_unpacked_once_with_progress_and_is_the_same_as_the_plain_one(
    nowhere: LocalSettings, tmp_path: Path, copies: list[Path]
) -> None:
    told: list[str] = []
    path = packed(tmp_path / "disk.bin.bz2")
    mine = replace(nowhere, image=str(path), tell=told.append)
    found = asyncio.run(images.opened(mine))
    assert found is not None and found.name == f"Flatcar 4593.2.5 of {path}"
    assert told[1].startswith("unpacking disk.bin.bz2: ") and told[-1] == "unpacking disk.bin.bz2: 100 %"
    told.clear()
    assert asyncio.run(images.opened(mine)) == found and told == []
    plain = tmp_path / "plain.bin"
    plain.write_bytes(bz2.decompress(path.read_bytes()))
    again = asyncio.run(images.opened(replace(mine, image=str(plain))))
    assert again is not None and again.tree == found.tree and len(copies) == 1
    assert not list((nowhere.cache / "local/disk-images").glob("*.usr-a"))


def test_machines_keep_their_image_when_its_file_changes_or_goes(
    nowhere: LocalSettings, tmp_path: Path, copies: list[Path]
) -> None:
    path = disk(tmp_path / "disk.bin")
    mine = replace(nowhere, image=str(path))
    asyncio.run(images.opened(mine))
    reference = images.reference_of(mine)
    disk(path, magic=b"\x53\xefother")
    assert asyncio.run(images.tree_of(mine, reference)) == copies[0] / "tree"
    path.unlink()
    assert asyncio.run(images.tree_of(mine, reference)) == copies[0] / "tree"


def test_an_image_that_went_before_it_was_opened_is_refused(nowhere: LocalSettings, tmp_path: Path) -> None:
    mine = replace(nowhere, image=str(tmp_path / "gone.bin"))
    with pytest.raises(Rejected, match=r"gone\.bin cannot be used: .*No such file"):
        asyncio.run(images.tree_of(mine, images.reference_of(mine)))


def test_another_image_in_the_place_of_a_lost_one_is_refused(
    nowhere: LocalSettings, tmp_path: Path, copies: list[Path]
) -> None:
    path = disk(tmp_path / "disk.bin")
    lost = f"{path}@sha256:{'0' * 64}"
    with pytest.raises(
        Rejected, match="is another image than the one that this cluster's machines are made of"
    ):
        asyncio.run(images.tree_of(replace(nowhere, image=str(path)), lost))


# ---- the extensions of an image

ROOT_TYPE = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")


def test_an_extension_with_dm_verity_is_kept_as_the_file_system_in_it(tmp_path: Path) -> None:
    """From Flatcar 4628 on containerd is in one, and a container has no device-mapper."""
    folder = tmp_path / built_in.FOLDER
    folder.mkdir(parents=True)
    with_verity = disk(folder / "containerd-flatcar.raw", changed(USR_ENTRY, ROOT_TYPE.bytes_le))
    with_verity.chmod(0o644)
    (folder / "docker-flatcar.raw").write_bytes(b"hsqs, as it is up to 4593")
    (folder / "cut.raw").write_bytes(changed(USR_ENTRY, ROOT_TYPE.bytes_le))
    built_in.make_plain(tmp_path)
    assert with_verity.stat().st_size == USR_SIZE and with_verity.read_bytes()[0x438:0x43A] == b"\x53\xef"
    assert with_verity.stat().st_mode & 0o777 == 0o644
    assert (folder / "docker-flatcar.raw").read_bytes() == b"hsqs, as it is up to 4593"
    assert (folder / "cut.raw").stat().st_size == len(TABLE)
    assert len(list(folder.iterdir())) == 3


# ---- a root of /usr alone


def test_a_root_of_usr_alone_is_what_flatcar_s_first_boot_makes(tmp_path: Path, monkeypatch) -> None:
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(
        os, "chown", lambda path, user, group: owners.__setitem__(Path(path).name, (user, group))
    )
    made, root = tree(tmp_path / "tree"), tmp_path / "root"
    (made / flatcar_root.ETC / "extensions").mkdir(parents=True)
    (made / flatcar_root.ETC / "extensions/containerd-flatcar.raw").symlink_to(
        "/usr/share/flatcar/sysext/x.raw"
    )
    (made / flatcar_root.ETC / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    accounts = made / flatcar_root.ACCOUNTS
    accounts.mkdir()
    (accounts / "passwd").write_text(
        "root:x:0:0::/:\ncore:x:500:501::/home/core:/bin/bash\nsshd:x:204:204::/:\n"
    )
    (accounts / "group").write_text("systemd-journal:x:248:core\nsshd:x:204:\ncore:x:500:\n")
    asyncio.run(rootfs.make(made, root))
    assert (root / "etc/extensions/containerd-flatcar.raw").is_symlink()
    names = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    assert names == ["root", "core"], "no account twice, and none that need not be writable"
    assert (root / "etc/group").read_text() == "systemd-journal:x:248:core\ncore:x:500:\n"
    assert owners == {"core": (500, 501), ".ssh": (500, 501), "journal": (0, 248)}
    assert str((root / "lib").readlink()) == "usr/lib" and str((root / "var/run").readlink()) == "../run"
    assert (root / "home/core/.ssh").stat().st_mode & 0o777 == 0o700
    assert list((root / "usr").iterdir()) == [], "/usr is the image's own"


def test_a_tree_with_an_etc_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    made, root = tree(tmp_path / "tree"), tmp_path / "root"
    (made / "etc").mkdir()
    (made / "etc/motd").write_text("mine\n")
    asyncio.run(rootfs.make(made, root))
    assert [path.name for path in (root / "etc").iterdir()] == ["motd"] and not (root / "home").exists()


# ---- real ones: made in Flatcar's layout by sfdisk and mkfs, from the stand-in's files

LAYOUT = """\
label: gpt
1 : start=4096, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI-SYSTEM"
2 : start=8192, size=4096, type=21686148-6449-6E6F-744E-656564454649, name="BIOS-BOOT"
3 : start=12288, size={usr}, type={usr_type}, uuid=7130C94A-213A-4E5A-8E26-6CCE9662F132, name="USR-A"
4 : size={usr}, type={usr_type}, uuid=E03DD35C-7C2D-4A47-B3FE-27F15780A57C, name="USR-B"
6 : size=4096, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="OEM"
7 : size=4096, type=C95DC21A-DF0E-4340-8D7B-26CBFA9A03E0, name="OEM-CONFIG"
9 : size=4096, type=3884DD41-8582-4404-B9A8-E9B84F2DF50E, name="ROOT"
"""
REF = ClusterRef("01JGFJJZ00GGGGGGGGGGGGGGGG", "prod")


def real_disk(path: Path, usr: Path) -> Path:
    """A disk with the file system image `usr` in its USR-A; all other partitions are empty."""
    size = usr.stat().st_size
    with path.open("wb") as file:
        file.truncate(USR + 2 * size + (16 << 20))
    layout = LAYOUT.format(usr=size // 512, usr_type=disk_image.TYPE)
    run("sfdisk", "--quiet", str(path), input=layout)
    run("dd", f"if={usr}", f"of={path}", "bs=1M", f"seek={USR >> 20}", "conv=notrunc,sparse", "status=none")
    return path


def run(*command: str, input: str | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, input=input, text=True, check=False, capture_output=True, env=env)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def filesystem(kind: str, files: Path, image: Path, size: int) -> Path:
    with image.open("wb") as file:
        file.truncate(size)
    make = {"ext4": ("mkfs.ext4", "-q", "-d"), "btrfs": ("mkfs.btrfs", "-q", "--mixed", "--rootdir")}[kind]
    run(*make, str(files), str(image))
    return image


def flatcar_usr(stand_in: Path, made: Path) -> Path:
    """The files of a /usr as Flatcar has it: /etc and the accounts lie in there, for the first boot."""
    run("cp", "-a", f"{stand_in}/usr", str(made))
    (made / "share/flatcar").mkdir()
    (made / "share/baselayout").mkdir()
    run("cp", "-a", f"{stand_in}/etc", str(made / "share/flatcar/etc"))
    for name in ("passwd", "group", "shadow", "gshadow"):
        (made / "share/flatcar/etc" / name).rename(made / "share/baselayout" / name)
    return made


def with_own_cache(place: LocalSettings, cache: Path) -> LocalSettings:
    """The same with a cache that has what everybody's has, but images of its own."""
    (cache / "local").mkdir(parents=True)
    shared = [place.cache / name for name in ("go", "sysext", "local/feed", "local/images")]
    for path in shared:
        path.mkdir(parents=True, exist_ok=True)
        (cache / path.relative_to(place.cache)).symlink_to(path)
    return replace(place, cache=cache)


def is_attached(path: Path) -> bool:
    """Whether a loop device shows a file."""
    return any(loops.backing(number).startswith(str(path)) for number in loops.present())


async def boot(place: LocalSettings, words: str) -> tuple[LocalCloud, Instance]:
    """One machine of the place's image, when its console has said some words."""
    cloud = LocalCloud(place)
    wanted = cluster(place.image)
    assert await cloud.preflight(wanted) == ()
    (image,) = await cloud.images(ImageQuery("stable", None, arch=architecture()))
    network = await cloud.ensure_network(REF, wanted)
    units = [{"name": "hello.service", "enabled": True, "contents": HELLO}]
    config = {"ignition": {"version": "3.4.0"}, "systemd": {"units": units}}
    made = await cloud.create(
        CreateRequest(
            cluster=REF,
            machine_id="01JGFJJZ00JJJJJJJJJJJJJJJJ",
            attempt=1,
            name="m1",
            role=Role.WORKER,
            pool="general",
            zone="",
            image=image.reference,
            machine=LocalMachine(),
            network=network,
            user_data=json.dumps(config).encode(),
        )
    )
    folder = networks.folder_of(place, REF).folder(made.id)
    async with asyncio.timeout(60):
        while not any(words in line for line in evidence.console(folder)):
            await asyncio.sleep(0.05)
    return cloud, made


async def down(cloud: LocalCloud) -> None:
    for instance in await cloud.machines(REF):
        await cloud.delete(REF, instance)
    await cloud.delete_network(REF)
    assert await cloud.sweep(REF) == ()


HELLO = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'grep VERSION_ID /etc/os-release >/dev/console; id core >/dev/console; \
systemctl is-system-running --wait >/dev/console'
[Install]
WantedBy=multi-user.target
"""


RELEASE = "4593.2.99"
FILE = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {{name: of-a-disk}}
spec:
  cloud: {{local: {{image: {image}}}}}
  kubernetes: {{version: v1.34.3}}
  network: {{cni: none}}
  controlPlane: {{replicas: 1, machine: {{cpus: 2, memoryMB: 2048}}}}
"""


@pytest.mark.real
@pytest.mark.usefixtures("kubernetes_built")
def test_a_node_of_a_disk_image_in_flatcar_s_layout_says_that_image_s_release(
    place: LocalSettings, tmp_path: Path, kubectl_path: Path
) -> None:
    tree = asyncio.run(images.tree_of(place, images.STAND_IN))
    files = flatcar_usr(tree, tmp_path / "usr")
    add_extension(files, tmp_path / "extension")
    release = files / "lib/os-release"
    release.write_text(release.read_text().replace(stand_in.VERSION, RELEASE))
    path = real_disk(tmp_path / "disk.bin", filesystem("ext4", files, tmp_path / "usr.img", 768 << 20))
    (tmp_path / "cluster.yaml").write_text(FILE.format(image=path))
    mine = replace(with_own_cache(place, tmp_path / "cache"), image=str(path))
    try:
        said = flatyard(mine, "up", "--yes", "--timeout", "25m", str(tmp_path / "cluster.yaml"))
        called = f"a stand-in for Flatcar {RELEASE} of {path}"
        assert said == f"Cluster of-a-disk is ready (containers of {called}).\n", (
            "its files are the stand-in's"
        )
        assert f"a stand-in for Flatcar {RELEASE}, running" in flatyard(mine, "status", "of-a-disk")
        config = flatyard(mine, "kubeconfig", "of-a-disk").strip()
        nodes = json.loads(run(str(kubectl_path), f"--kubeconfig={config}", "get", "nodes", "-o", "json"))[
            "items"
        ]
        assert [node["status"]["nodeInfo"]["osImage"].split(" (")[0] for node in nodes] == [
            f"Flatcar Container Linux {RELEASE}"
        ]
        (folder,) = clusters(place.home)[0].folders()
        leader = processes.leader(folder.state().nspawn)
        assert "uid=500(core)" in asyncio.run(processes.inside(leader, "id", "core")).said
        assert asyncio.run(processes.inside(leader, "/usr/bin/hello")).said == "merged\n"
        failed = asyncio.run(processes.inside(leader, "systemctl", "--failed", "--no-legend", "--plain"))
        assert failed.said == ""
    finally:
        flatyard(mine, "down", "--yes", "of-a-disk")
    assert not is_attached(tmp_path)


def add_extension(usr: Path, work: Path) -> None:
    """An extension as Flatcar has them from 4628 on: a disk image, here without the verity partitions."""
    program, release = work / "usr/bin/hello", work / "usr/lib/extension-release.d/extension-release.hello"
    for path, text in ((program, "#!/bin/sh\necho merged\n"), (release, "ID=flatcar\nSYSEXT_LEVEL=1.0\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    program.chmod(0o755)
    plain, place = work.with_suffix(".squashfs"), usr / "share/flatcar/sysext/hello.raw"
    run("mksquashfs", str(work), str(plain), "-quiet", "-no-progress")
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.truncate(4 << 20)
    sectors = -(-plain.stat().st_size // 512)
    run("sfdisk", "--quiet", str(place), input=f"label: gpt\nstart=2048, size={sectors}, type={ROOT_TYPE}\n")
    run("dd", f"if={plain}", f"of={place}", "bs=1M", "seek=1", "conv=notrunc", "status=none")
    (usr / "share/flatcar/etc/extensions/hello.raw").symlink_to("/usr/share/flatcar/sysext/hello.raw")


def flatyard(place: LocalSettings, *words: str) -> str:
    own = {"FLATYARD_STATE": str(place.home.parent / "state"), "FLATYARD_LOCAL_HOME": str(place.home)}
    own |= {"FLATYARD_LOCAL_POOL": place.pool, "FLATYARD_CACHE": str(place.cache)}
    return run(sys.executable, "-m", "flatyard", *words, env=os.environ | own)


@pytest.mark.real
def test_a_machine_of_a_packed_image_with_btrfs_boots(
    place: LocalSettings, tmp_path: Path, tiny_tree: Path
) -> None:
    async def main() -> None:
        run("cp", "-a", f"{tiny_tree}/usr", str(tmp_path / "usr"))
        made = filesystem("btrfs", tmp_path / "usr", tmp_path / "usr.img", 32 << 20)
        path = real_disk(tmp_path / "disk.bin", made)
        Path(f"{path}.bz2").write_bytes(bz2.compress(path.read_bytes(), 1))
        told: list[str] = []
        mine = replace(with_own_cache(place, tmp_path / "cache"), image=f"{path}.bz2", tell=told.append)
        cloud, _ = await boot(mine, "tiny init is up")
        assert told[0].startswith("unpacking disk.bin.bz2; this happens once")
        assert images.made_of(mine).words == f"containers of tiny 1 of {path}.bz2"
        await down(cloud)
        assert not is_attached(tmp_path)
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()

    asyncio.run(main())


@pytest.mark.real
def test_a_disk_image_for_another_architecture_is_refused_before_anything_is_made(
    place: LocalSettings, tmp_path: Path
) -> None:
    files = tree(tmp_path / "tree", OS_RELEASE.format(version="4593.2.5", arch=OTHER_ARCH)) / "usr"
    path = real_disk(tmp_path / "disk.bin", filesystem("ext4", files, tmp_path / "usr.img", 8 << 20))
    cloud = LocalCloud(replace(place, cache=tmp_path / "cache"))
    (problem,) = asyncio.run(preflight.opened_image(replace(cloud.settings, image=str(path)), cluster(path)))
    assert f"Flatcar 4593.2.5 for {OTHER_ARCH}, and this machine is {architecture()}" in problem.what
    assert not place.home.exists()


@pytest.mark.real
def test_a_usr_a_without_an_os_is_refused(place: LocalSettings, tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    path = real_disk(
        tmp_path / "disk.bin", filesystem("ext4", tmp_path / "usr", tmp_path / "usr.img", 8 << 20)
    )
    mine = replace(place, image=str(path), cache=tmp_path / "cache")
    (problem,) = asyncio.run(preflight.opened_image(mine, cluster(path)))
    assert f"byte {USR}: USR-A has no lib/os-release" in problem.what


@pytest.mark.real
def test_a_damaged_file_system_is_told_with_what_mount_says(place: LocalSettings, tmp_path: Path) -> None:
    mine = replace(place, image=str(disk(tmp_path / "disk.bin")), cache=tmp_path / "cache")
    (problem,) = asyncio.run(preflight.opened_image(mine, cluster(mine.image)))
    assert f"byte {USR}: the ext4 in USR-A cannot be read: mount:" in problem.what
    assert not list((tmp_path / "cache/local").glob("flatcar-*/mounted"))
