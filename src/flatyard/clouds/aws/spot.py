"""Spot instances: how they are asked for, and what EC2 takes of that.

Source: EC2 API reference, SpotMarketOptions: with RunInstances a request is persistent exactly when an interruption
stops or hibernates the instance.
"""

from __future__ import annotations

from collections.abc import Iterator

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AwsMachine

_KEEPING = ("hibernate", "stop")
_LEAST_PRICE = 0.001


def options(machine: AwsMachine) -> dict[str, object]:
    """InstanceMarketOptions of a create call."""
    wanted = machine.spot_instance_config
    asked: dict[str, object] = {"SpotInstanceType": "one-time"}
    if wanted:
        if wanted.persistent_request:
            asked["SpotInstanceType"] = "persistent"
        if wanted.max_price:
            asked["MaxPrice"] = wanted.max_price
        if wanted.interruption_behavior:
            asked["InstanceInterruptionBehavior"] = wanted.interruption_behavior
    return {"MarketType": "spot", "SpotOptions": asked}


def problems(pool: Pool[AwsMachine]) -> Iterator[Problem]:
    """What EC2 would refuse of a pool's spot configuration."""
    wanted = pool.machine.spot_instance_config
    if not pool.machine.is_spot_instance or not wanted:
        return
    keeps = wanted.interruption_behavior in _KEEPING
    if wanted.persistent_request and not keeps:
        what = "a persistent request wants an interruptionBehavior that keeps the instance"
        allowed = f"{', '.join(_KEEPING)}; without persistentRequest flatyard replaces what AWS takes back"
        yield _error(pool.at("spotInstanceConfig.persistentRequest"), what, allowed)
    if keeps and not wanted.persistent_request:
        what = f"{wanted.interruption_behavior} wants a persistent request"
        yield _error(
            pool.at("spotInstanceConfig.interruptionBehavior"), what, "terminate, or persistentRequest: true"
        )
    if wanted.max_price and not _is_price(wanted.max_price):
        what = f"{wanted.max_price!r} is no price per hour"
        yield _error(
            pool.at("spotInstanceConfig.maxPrice"), what, f"USD, at least {_LEAST_PRICE}, such as 0.05"
        )


def _is_price(text: str) -> bool:
    try:
        return _LEAST_PRICE <= float(text) < float("inf")
    except ValueError:
        return False


def _error(path: str, what: str, allowed: str) -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed)
