"""Supplies of local machines: what is damaged on the disk is told before any machine is made of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flatyard.base.errors import Failed
from flatyard.controller.supplies import Supplies
from flatyard.sysext.feed_folder import write_feed


def test_an_image_with_a_flipped_byte_is_refused_and_not_pinned_anew(tmp_path: Path) -> None:
    supplies = Supplies(tmp_path)
    image = supplies.feed / "kubernetes/kubernetes-v1.34.3-x86-64.raw"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"an image")
    write_feed(supplies.feed)
    sums = (image.parent / "SHA256SUMS").read_text()
    image.write_bytes(b"an inage")
    with pytest.raises(Failed, match="has another sha256 than") as error:
        asyncio.run(supplies.ensure("v1.34.3", "amd64", tmp_path, print))
    assert error.value.next.startswith(f"sudo rm {image}")
    assert (image.parent / "SHA256SUMS").read_text() == sums
