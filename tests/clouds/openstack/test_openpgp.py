"""Signatures made by GnuPG: the right key's is taken, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from flatyard.clouds.openstack import openpgp
from flatyard.clouds.openstack.image_import import FLATCAR_FINGERPRINT, FLATCAR_KEY

SIGNED = Path(__file__).parent / "signed"
IMAGE = (SIGNED / "image.img.gz").read_bytes()
SIGNATURE = (SIGNED / "image.img.gz.sig").read_bytes()
KEY = (SIGNED / "key.asc").read_text()


def check(data: bytes = IMAGE, signature: bytes = SIGNATURE, key: str = KEY, fingerprint: str = "") -> str:
    return openpgp.verify("the image", io.BytesIO(data), signature, key, fingerprint)


def test_what_a_subkey_signed_is_taken() -> None:
    assert check() == "9363BCAD35CD86252861ABCE92494E75AD197685"


def test_other_bytes_are_not() -> None:
    with pytest.raises(openpgp.WrongSignature, match="not signed as it should be") as said:
        check(IMAGE[:-1] + b"x")
    assert said.value.why == "its bytes are not the ones that were signed"


def test_another_key_is_not() -> None:
    with pytest.raises(openpgp.WrongSignature) as said:
        check(key=(SIGNED / "other.asc").read_text())
    assert "which is no key of" in said.value.why


def test_a_key_of_another_fingerprint_is_not_read() -> None:
    with pytest.raises(openpgp.WrongSignature):
        check(fingerprint=FLATCAR_FINGERPRINT)


@pytest.mark.parametrize("cut", range(0, len(SIGNATURE), 7))
def test_half_a_signature_is_told(cut: int) -> None:
    with pytest.raises(openpgp.WrongSignature):
        check(signature=SIGNATURE[:cut])


@pytest.mark.parametrize("place", range(0, len(SIGNATURE), 11))
def test_a_changed_signature_is_told(place: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[place] ^= 0x10
    try:
        check(signature=bytes(changed))
    except openpgp.WrongSignature:
        return
    # only what is not signed itself may differ: the packet's unhashed part
    hashed = 3 + 6 + int.from_bytes(SIGNATURE[7:9])
    assert place >= hashed


def test_a_page_of_html_is_told() -> None:
    with pytest.raises(openpgp.WrongSignature):
        check(signature=b"<html>not here</html>")


def test_flatcars_own_key_vouches_for_the_subkey_that_signs_now() -> None:
    data = openpgp._unarmoured(FLATCAR_KEY)
    found = [key.fingerprint for key in openpgp._keys(data, FLATCAR_FINGERPRINT)]
    assert found == [FLATCAR_FINGERPRINT, "52F145DFD00BBDCD928CBB5A32DA80F91EF52974"]
