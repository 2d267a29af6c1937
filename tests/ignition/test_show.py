"""What a config does to a machine, as people read it.

`UPDATE_GOLDEN=1 pytest tests/ignition/test_show.py` writes the golden files anew.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from flatyard import ignition
from flatyard.ignition.dataurl import encode
from flatyard.ignition.parse import read
from flatyard.ignition.show import printable, show
from flatyard.ignition.types import Config, File, Resource, Storage

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = Path(__file__).parent / "golden" / "show"


def shown(path: Path) -> str:
    document = read(path.read_bytes())
    assert document.is_valid and document.config is not None
    return "".join(f"{line}\n" for line in show(document.config))


@pytest.mark.parametrize("name", ["aws-worker", "everything"])
def test_a_config_is_shown_as_the_golden_file_has_it(name: str):
    found = shown(GOLDEN / f"{name}.ign")
    golden = GOLDEN / f"{name}.txt"
    if "UPDATE_GOLDEN" in os.environ:
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_example():
    assert shown(ROOT / "examples/custom.ign") == (
        "Ignition 3.0.0\nfiles\n  /etc/custom-config  0644  root:root  14 bytes  inline\n"
    )


def test_nothing_secret_is_shown():
    text = (GOLDEN / "everything.ign").read_text()
    assert text.count("s3cret") == 7
    assert "s3cret" not in shown(GOLDEN / "everything.ign")


@pytest.mark.parametrize("folder", ["merge", "validate"])
def test_every_config_that_ignition_takes_can_be_shown(folder: str):
    documents = [read(path.read_bytes()) for path in sorted((GOLDEN.parent / folder).glob("*.json"))]
    configs = [document.config for document in documents if document.is_valid and document.config]
    assert len(configs) > 30
    for config in configs:
        lines = show(config)
        assert lines[0] == f"Ignition {config.ignition.version}"
        for node in (*config.storage.files, *config.storage.links, *config.storage.directories):
            assert any(line.split()[0] == printable(node.path) for line in lines)


def test_names_cannot_steer_a_terminal():
    config = ignition.config(files=[ignition.file("/etc/a\x1b]0;owned\x07\nb", "x")])
    assert all(line.isprintable() for line in show(config))
    assert printable("é\x1b\n\u202e") == "é\\x1b\\n\\u202e"


def test_a_gzip_bomb_is_not_unpacked():
    bomb = Resource(compression="gzip", source=encode(gzip.compress(bytes(65 << 20), 1)))
    lines = show(Config(storage=Storage(files=(File(path="/bomb", contents=bomb),))))
    assert lines[-1].endswith("inline, cannot be read: gzip: more data than allowed")
