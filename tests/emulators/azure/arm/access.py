"""Who asks and what they may: tokens, role definitions, denied actions (rules: authorization)."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

from .errors import ArmError
from .world import Resource, references

JOINS = {
    "microsoft.network/virtualnetworks/subnets": "Microsoft.Network/virtualNetworks/subnets/join/action",
    "microsoft.network/networksecuritygroups": "Microsoft.Network/networkSecurityGroups/join/action",
    "microsoft.network/routetables": "Microsoft.Network/routeTables/join/action",
    "microsoft.network/natgateways": "Microsoft.Network/natGateways/join/action",
    "microsoft.network/publicipaddresses": "Microsoft.Network/publicIPAddresses/join/action",
    "microsoft.network/networkinterfaces": "Microsoft.Network/networkInterfaces/join/action",
    "microsoft.network/loadbalancers/backendaddresspools": (
        "Microsoft.Network/loadBalancers/backendAddressPools/join/action"
    ),
    "microsoft.managedidentity/userassignedidentities": (
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
    ),
}
"""What refers to one of these needs the action on it (rules: linked-authorization)."""


class Access:
    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        """Token to client; what was issued stays good when everything else is forgotten."""
        self.roles: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        """By client: scopes and the role definitions that hold from there on; without any it may do everything."""
        self.denied: list[tuple[str, str]] = []

    def principal(self, headers: Mapping[str, str]) -> str:
        word, _, token = headers.get("authorization", "").partition(" ")
        if word.lower() != "bearer" or not token:
            raise ArmError(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
                headers={"WWW-Authenticate": 'Bearer authorization_uri="https://127.0.0.1:5443/"'},
            )
        if token not in self.tokens:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        return self.tokens[token]

    def held(self, principal: str, scope: str) -> list[dict[str, Any]]:
        """What roles at the scope, and above it, allow (rules: scopes)."""
        given = self.roles.get(principal)
        if given is None:
            return [{"actions": ["*"], "notActions": []}]
        return [dict(item) for where, role in given if below(scope, where) for item in parts(role)]

    def permissions(self, principal: str, scope: str) -> list[dict[str, Any]]:
        held = self.held(principal, scope)
        for item in held:
            item["notActions"] = [*item.get("notActions", []), *(action for action, _ in self.denied)]
            item.setdefault("dataActions", [])
            item.setdefault("notDataActions", [])
        return held

    def may(self, principal: str, action: str, scope: str) -> bool:
        if any(fits(action, no) and scope.lower().startswith(where.lower()) for no, where in self.denied):
            return False
        return any(
            any(fits(action, yes) for yes in item.get("actions", []))
            and not any(fits(action, no) for no in item.get("notActions", []))
            for item in self.held(principal, scope)
        )

    def allow(self, principal: str, action: str, scope: str) -> None:
        if action and not self.may(principal, action, scope):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{principal}' with object id '{principal}' does not have authorization to perform action "
                f"'{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please "
                "refresh your credentials.",
            )

    def linked(self, principal: str, new: Resource, old: Resource | None) -> None:
        known = {target for _, target in references(old.id, old.body)} if old else set()
        for _, target in references(new.id, new.body):
            action = JOINS.get(kind_of(target))
            if target in known or action is None or target.lower().startswith(new.key + "/"):
                continue
            if not self.may(principal, action, target):
                raise ArmError(
                    403,
                    "LinkedAuthorizationFailed",
                    f"The client '{principal}' with object id '{principal}' has permission to perform action "
                    f"'{new.kind}/write' on scope '{new.id}'; however, it does not have permission to perform "
                    f"action(s) '{action}' on the linked scope(s) '{target}' (respectively) or the linked scope(s) "
                    "are invalid.",
                )


def kind_of(raw: str) -> str:
    from .ids import parse

    return parse(raw).kind.lower()


def below(scope: str, where: str) -> bool:
    return f"{scope.lower()}/".startswith(f"{where.lower().rstrip('/')}/")


def fits(action: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(action.lower(), pattern.lower())


def parts(role: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The permissions of a role definition, as the CLI writes it (`Actions`) or as the API does."""
    text = json.loads(json.dumps(role))
    inner = text.get("properties", text)
    if "permissions" in inner:
        return list(inner["permissions"])
    lowered = {key.lower(): value for key, value in inner.items()}
    return [{"actions": lowered.get("actions", []), "notActions": lowered.get("notactions", [])}]
