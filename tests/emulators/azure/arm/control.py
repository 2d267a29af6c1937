"""What only a test may do: see everything, make trouble, play the machine and its owner."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import reach
from .catalogue import Image
from .errors import ArmError
from .routes import Answer, Request
from .world import Body, Resource

if TYPE_CHECKING:
    from .app import Arm

Call = Callable[["Arm", dict[str, Any]], object]


def number() -> str:
    return str(uuid.uuid4())


def answer(arm: Arm, request: Request) -> Answer:
    """POST /_emulator/NAME with the arguments as JSON; the result as JSON."""
    name = request.path.rsplit("/", 1)[-1].replace("-", "_")
    call = CALLS.get(name)
    if call is None:
        return Answer(404, {"error": f"no control {name}: {', '.join(CALLS)}"})
    arm.world.advance()
    try:
        return Answer(200, {"result": call(arm, json.loads(request.raw or b"{}"))})
    except (KeyError, ValueError, TypeError, ArmError) as problem:
        return Answer(400, {"error": f"{name}: {problem!r}"})


def vm(arm: Arm, given: Body) -> Resource:
    found = arm.world.find(given["id"])
    if found is None:
        raise KeyError(given["id"])
    return found


def reset(arm: Arm, given: Body) -> None:
    arm.reset()


def resources(arm: Arm, given: Body) -> list[Body]:
    return [
        {
            "id": found.id,
            "type": found.kind,
            "state": found.state,
            "tags": found.body.get("tags") or {},
            "deleting": found.state == "Deleting",
        }
        for found in arm.world.resources.values()
    ]


def trouble(arm: Arm, given: Body) -> None:
    arm.faults.plan(**given)


def lose(arm: Arm, given: Body) -> None:
    arm.faults.plan(f"LOST_{given.pop('when', 'after')}", **given)


def lag(arm: Arm, given: Body) -> None:
    arm.world.lag = float(given["seconds"])


def fail(arm: Arm, given: Body) -> None:
    """Its last operation failed: the one with this code, and it has power; by default its start, and it has none."""
    found, code = vm(arm, given), given["code"]
    failure = ArmError(409, "VMStartTimedOut", "The VM did not start in the allotted time.")
    if code:
        failure = ArmError(409, code, given["words"])
    found.hidden["failure"], found.hidden["power"] = failure, "running" if code else "stopped"
    found.state = "Failed"
    if found.operation is not None and found.operation.status == "InProgress":
        found.operation.status, found.operation.error = "Failed", failure
        found.operation = None


def end(arm: Arm, given: Body) -> None:
    arm.removed(vm(arm, given))


def stop(arm: Arm, given: Body) -> None:
    vm(arm, given).hidden["power"] = "deallocated"


def user_data(arm: Arm, given: Body) -> str:
    """customData in base64, as it was sent."""
    said = vm(arm, given).hidden["said"]
    return str((said.get("osProfile") or {}).get("customData") or "")


def say(arm: Arm, given: Body) -> None:
    found = vm(arm, given)
    found.hidden["console"] = found.hidden["console"] + given["text"]


def boots(arm: Arm, given: Body) -> int:
    return int(vm(arm, given).hidden.get("boots", 1))


def quota(arm: Arm, given: Body) -> None:
    arm.market.limits[(given["location"], given["name"].lower())] = int(given["limit"])


def deny(arm: Arm, given: Body) -> None:
    arm.access.denied.append((given["action"], given.get("scope", "")))


def allow(arm: Arm, given: Body) -> None:
    arm.access.denied.clear()
    arm.access.roles.clear()


def role(arm: Arm, given: Body) -> None:
    """The client's only role, or one `more`, at a scope and below it."""
    held = arm.access.roles.setdefault(given["client"], [])
    if not given.get("more"):
        held.clear()
    held.append((given.get("scope") or "/", given["definition"]))


def client(arm: Arm, given: Body) -> None:
    arm.clients[given.pop("id")] = given


def speed(arm: Arm, given: Body) -> None:
    arm.world.set_speed(float(given["factor"]))


def durations(arm: Arm, given: Body) -> None:
    """Seconds of `vm`, `delete`, `other`, `power`; `retry_after` and `page` besides."""
    arm.world.retry_after = int(given.pop("retry_after", arm.world.retry_after))
    arm.page = int(given.pop("page", arm.page))
    arm.world.durations |= given


def throttle(arm: Arm, given: Body) -> None:
    arm.faults.throttle = bool(given["on"])


def calls(arm: Arm, given: Body) -> list[dict[str, object]]:
    return arm.calls


def forget(arm: Arm, given: Body) -> None:
    arm.calls.clear()


def withdraw(arm: Arm, given: Body) -> None:
    arm.market.withdrawn.add((given["size"].lower(), given["location"], given.get("zone", "")))


def publish(arm: Arm, given: Body) -> None:
    """One more version of every image of this sku."""
    like = {(i.offer, i.sku): i for i in arm.market.images if i.sku == given["sku"]}
    for old in like.values():
        made = Image(old.publisher, old.offer, old.sku, given["version"], old.arch, old.generation, old.plan)
        arm.market.images.append(made)


def unpublish(arm: Arm, given: Body) -> None:
    for image in arm.market.images:
        if image.version == given["version"]:
            image.not_in.add(given["location"])


def tag(arm: Arm, given: Body) -> None:
    for image in arm.market.images:
        if image.version == given["version"]:
            image.controllers = given["controllers"]


def controllers(arm: Arm, given: Body) -> None:
    arm.market.retold[given["size"].lower()] = given["controllers"]


def plain(arm: Arm, given: Body) -> None:
    arm.market.plain.add(given["size"].lower())


def outbound(arm: Arm, given: Body) -> str:
    return reach.outbound(arm.world, vm(arm, given))


def inbound(arm: Arm, given: Body) -> bool:
    return reach.inbound(
        arm.world, vm(arm, given), given["port"], given["source"], given.get("protocol", "Tcp")
    )


def behind(arm: Arm, given: Body) -> list[str]:
    return reach.behind(arm.world, given["address"], given["port"])


def unregister(arm: Arm, given: Body) -> None:
    arm.unregistered.add(given["namespace"].lower())


def policy(arm: Arm, given: Body) -> None:
    arm.policies.add(given["name"])


def age(arm: Arm, given: Body) -> None:
    """Everything that is there now is so many seconds older."""
    for found in arm.world.resources.values():
        found.created -= float(given["seconds"])


CALLS: dict[str, Call] = {
    call.__name__: call
    for call in (
        reset,
        resources,
        trouble,
        lose,
        lag,
        fail,
        end,
        stop,
        user_data,
        say,
        boots,
        quota,
        deny,
        allow,
        role,
        client,
        speed,
        durations,
        throttle,
        calls,
        forget,
        withdraw,
        publish,
        unpublish,
        tag,
        controllers,
        plain,
        age,
        outbound,
        inbound,
        behind,
        unregister,
        policy,
    )
}
