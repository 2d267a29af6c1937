"""What a machine's operating system is given: names, custom data, and who may log in."""

from __future__ import annotations

import base64
import binascii
import re

from .errors import invalid
from .world import Body, Resource

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-.]{0,62}[A-Za-z0-9])?")
CUSTOM_DATA = 87_380
"""Characters of base64: 65,535 bytes (rules: custom-data)."""
FORBIDDEN_USERS = set(
    "administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet backup console "
    "david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5".split()
)


def profile(new: Resource) -> None:
    os = new.properties.get("osProfile") or {}
    for word in ("computerName", "adminUsername"):
        if not os.get(word):
            raise invalid(
                "InvalidParameter", f"Required parameter 'osProfile.{word}' is missing (null).", word
            )
    if not HOST.fullmatch(os["computerName"]):
        raise invalid(
            "InvalidParameter",
            f"Linux host name '{os['computerName']}' is not valid or too long.",
            "computerName",
        )
    if os["adminUsername"].lower() in FORBIDDEN_USERS:
        raise invalid(
            "InvalidParameter",
            "The Admin Username specified is not allowed.",
            "adminUsername",
        )
    data(os.get("customData"), "customData")
    data(new.properties.get("userData"), "userData")
    access(os)


def data(text: str | None, name: str) -> bytes:
    if not text:
        return b""
    words = (
        "Custom data in OSProfile must be in Base64 encoding and with a maximum length of "
        f"{CUSTOM_DATA} characters."
        if name == "customData"
        else f"User data must be in Base64 encoding and with a maximum length of {CUSTOM_DATA} characters."
    )
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("InvalidParameter", words, name) from None
    if len(text) > CUSTOM_DATA:
        raise invalid("InvalidParameter", words, name)
    return found


def access(os: Body) -> None:
    linux = os.get("linuxConfiguration") or {}
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    if linux.get("disablePasswordAuthentication") and os.get("adminPassword"):
        raise invalid(
            "InvalidParameter",
            "A password is given while password authentication is disabled.",
            "adminPassword",
        )
    if not os.get("adminPassword") and not keys:
        raise invalid(
            "InvalidParameter",
            "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
            "linuxConfiguration",
        )
    home = f"/home/{os['adminUsername']}/.ssh/authorized_keys"
    for key in keys:
        if key.get("path") != home:
            raise invalid(
                "InvalidParameter",
                f"Destination path for SSH public keys is currently limited to its default value {home} due to a "
                "known issue in Linux provisioning agent.",
                "linuxConfiguration.ssh.publicKeys.path",
            )
        if not re.match(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+", key.get("keyData") or ""):
            raise invalid(
                "InvalidParameter",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
                "linuxConfiguration.ssh.publicKeys.keyData",
            )
