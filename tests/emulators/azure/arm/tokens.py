"""Who one is: Entra's endpoints as far as credentials need them, the machines' metadata service, the console's text."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .routes import Answer, Request
from .world import Body

if TYPE_CHECKING:
    from .app import Arm

TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT, SECRET = "33333333-3333-3333-3333-333333333333", "emulated-secret"
FEDERATED = "emulated-federated-token"
MANAGED = "44444444-4444-4444-4444-444444444444"
"""The client that the metadata service speaks for."""
WELL_KNOWN = re.compile(r"/([^/]+)/(v2\.0/)?\.well-known/openid-configuration")
TOKEN = re.compile(r"/([^/]+)/oauth2/(v2\.0/)?token")


def answer(arm: Arm, request: Request) -> Answer | None:
    path = request.path
    if match := WELL_KNOWN.fullmatch(path):
        return discovery(request, match[1])
    if match := TOKEN.fullmatch(path):
        return token(arm, request, match[1])
    if path == "/common/discovery/instance":
        return Answer(
            200,
            {"tenant_discovery_endpoint": f"{request.base}/{TENANT}/v2.0/.well-known/openid-configuration"},
        )
    if path == "/metadata/identity/oauth2/token":
        return managed(arm, request)
    if path == "/metadata/endpoints":
        return endpoints(arm, request)
    if path.startswith("/_diagnostics/"):
        return diagnostics(arm, request)
    return None


def refused(status: int, error: str, words: str) -> Answer:
    return Answer(
        status,
        {
            "error": error,
            "error_description": words,
            "error_codes": [int(re.sub(r"\D", "", words.split(":", maxsplit=1)[0]))],
        },
    )


def discovery(request: Request, tenant: str) -> Answer:
    if tenant not in (TENANT, "organizations", "common"):
        return refused(400, "invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.")
    base = f"{request.base}/{tenant}"
    return Answer(
        200,
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "issuer": f"{base}/v2.0",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "tenant_region_scope": None,
        },
    )


def token(arm: Arm, request: Request, tenant: str) -> Answer:
    if tenant != TENANT:
        return refused(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
    form = dict(parse_qsl(request.raw.decode()))
    client = form.get("client_id", "")
    known = arm.clients.get(client)
    if known is None:
        return refused(
            400,
            "unauthorized_client",
            f"AADSTS700016: Application with identifier '{client}' was not found in the directory.",
        )
    if form.get("grant_type") != "client_credentials":
        return refused(
            400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type."
        )
    if "client_assertion" in form:
        if not proven(form["client_assertion"], known):
            return refused(
                401,
                "invalid_client",
                "AADSTS700027: The certificate with identifier used to sign the client assertion is "
                "not registered on application.",
            )
    elif form.get("client_secret") != known.get("secret"):
        return refused(
            401, "invalid_client", f"AADSTS7000215: Invalid client secret provided for app '{client}'."
        )
    return Answer(200, granted(arm, client))


def proven(assertion: str, known: Body) -> bool:
    """The federated token, or one signed with the client's certificate."""
    if assertion == known.get("federated"):
        return True
    head, _, rest = assertion.partition(".")
    payload, _, signature = rest.partition(".")
    certificate = known.get("certificate")
    if not certificate or not signature:
        return False
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    for scheme in (padding.PSS(padding.MGF1(hashes.SHA256()), 32), padding.PKCS1v15()):
        try:
            key.verify(decoded(signature), f"{head}.{payload}".encode(), scheme, hashes.SHA256())
        except InvalidSignature:
            continue
        return True
    return False


def decoded(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def granted(arm: Arm, client: str) -> Body:
    made = f"emulated.{uuid.uuid4().hex}"
    arm.access.tokens[made] = client
    return {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": made}


def managed(arm: Arm, request: Request) -> Answer:
    if request.headers.get("metadata", "").lower() != "true":
        return Answer(
            400, {"error": "invalid_request", "error_description": "Required metadata header not specified"}
        )
    client = request.query.get("client_id", MANAGED)
    if client not in arm.clients:
        return Answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
    made = granted(arm, client)
    made |= {
        "expires_on": str(int(arm.world.now()) + 3599),
        "resource": request.query.get("resource", ""),
        "client_id": client,
    }
    return Answer(200, {**made, "expires_in": "3599"})


def endpoints(arm: Arm, request: Request) -> Answer:
    found: Body = {
        "name": "Emulated",
        "resourceManager": request.base,
        "authentication": {
            "loginEndpoint": request.base,
            "audiences": [request.base],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": arm.world.blobs.split("//", 1)[1]},
    }
    return Answer(200, [found] if request.query.get("api-version", "") < "2020" else found)


def diagnostics(arm: Arm, request: Request) -> Answer:
    number, _, name = request.path.removeprefix("/_diagnostics/").partition("/")
    for vm in arm.world.of_kind("Microsoft.Compute/virtualMachines"):
        if vm.hidden["vmId"] == number:
            right = (
                request.query.get("sig") == number[:8] and int(request.query.get("se", "0")) > arm.world.now()
            )
            if not right:
                return Answer(403, None, {}, plain=b"AuthenticationFailed")
            if name.endswith(".log"):
                return Answer(200, plain=str(vm.hidden["console"]).encode())
    return Answer(404, None, {}, plain=b"BlobNotFound")
