"""User data arrives as it was rendered, up to the limit; it is in no list, name or error."""

from __future__ import annotations

from dataclasses import replace

from flatyard.clouds.cloud import Rejected
from flatyard.clouds.conformance.bench import Bench, Check, emptied, living, owned, refusal_of, request
from flatyard.clouds.delivery import raw_limit
from flatyard.clouds.facts import Trouble

_AWKWARD = (
    '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/etc/motd","mode":420,"contents":'
    '{"source":"data:,gr%C3%BC%C3%9Fe%20%24%7Bx%7D"}}]},\r\n\t "systemd":{"units":[{"name":"überprüfung-検査.service",'
    '"contents":"# \\u0000 ${HOME} $$ %n {{x}} <&> \' 😀\\n"}]}}\n\n'
)
SECRET = "c0nf0rmance-secret"


async def _arrives(bench: Bench, user_data: bytes) -> None:
    made = await bench.cloud.create(replace(await request(bench), user_data=user_data))
    found = bench.user_data(made)
    assert found == user_data, (
        f"{len(user_data)} bytes were sent, and the machine finds {len(found)}, or others"
    )
    await emptied(bench)


async def user_data_arrives_byte_for_byte(bench: Bench) -> None:
    await _arrives(bench, _AWKWARD.encode())


def padded(size: int) -> bytes:
    """An Ignition config of so many bytes; what fills it does not compress well."""
    head, tail = b'{"ignition":{"version":"3.4.0"}', b"}"
    filling = bytes((9, 10, 13, 32)[n * n * 7919 % 11 % 4] for n in range(4096))
    room = size - len(head) - len(tail)
    return head + (filling * (room // len(filling) + 1))[:room] + tail


async def user_data_at_the_limit_arrives(bench: Bench) -> None:
    await _arrives(bench, padded(raw_limit(bench.cloud.limits)))


async def user_data_beyond_the_limit_is_rejected(bench: Bench) -> None:
    wanted = replace(await request(bench), user_data=padded(raw_limit(bench.cloud.limits) + 1))
    before = await owned(bench)
    no = await refusal_of(bench.cloud.create(wanted))
    assert isinstance(no, Rejected), f"one byte too many is told as {type(no).__name__}: {no}"
    assert await owned(bench) == before, "something was made before the refusal"
    await emptied(bench)


async def user_data_is_told_to_nobody(bench: Bench) -> None:
    text = f'{{"ignition":{{"version":"3.4.0"}},"storage":{{"files":[{{"path":"/{SECRET}"}}]}}}}'
    wanted = replace(await request(bench), user_data=text.encode())
    told = [repr(wanted)]
    bench.trouble(Trouble.INTERNAL, 100)
    told.append(repr(await refusal_of(bench.cloud.create(wanted))))
    bench.trouble(Trouble.INTERNAL, 0)
    made = await bench.cloud.create(wanted)
    told += [
        repr(made),
        repr(await living(bench)),
        repr(await bench.cloud.sweep(bench.ref)),
        repr(bench.cloud),
    ]
    found = [text[:200] for text in told if SECRET in text]
    assert not found, f"user data shows in {found[0]}"
    await emptied(bench)


CHECKS: tuple[Check, ...] = (
    user_data_arrives_byte_for_byte,
    user_data_at_the_limit_arrives,
    user_data_beyond_the_limit_is_rejected,
    user_data_is_told_to_nobody,
)
