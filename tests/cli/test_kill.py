"""`kill -9` of the background process while a command runs: the command replaces it and ends as if undisturbed.

Each life of a cluster sees its kills at other lines of progress: the four lives see twenty-two, the two of the fast
tier twelve, the first ones and the last ones.
"""

from __future__ import annotations

import os
import signal
import threading

import pytest

SPEED = "300"
UNDISTURBED = {
    "address": 1,
    "bucket": 1,
    "instance": 4,
    "load-balancer": 1,
    "network": 1,
    "security-group": 2,
    "subnet": 3,
    "volume": 1,
}


def killed(shell, command: list[str], lines: list[int]) -> str:
    """Run a command and kill the background process after each of these numbers of lines of progress."""
    process = shell.start(*command)
    out: list[str] = []
    reader = threading.Thread(target=lambda: out.append(process.stdout.read()))
    reader.start()
    seen: list[str] = []
    kills = 0
    for text in process.stderr:
        seen.append(text)
        if kills < len(lines) and "  – " in text:
            lines[kills] -= 1
            pid = shell.pid("quickstart")
            if lines[kills] <= 0 and pid:
                os.kill(pid, signal.SIGKILL)
                kills += 1
    reader.join()
    assert process.wait() == 0, "".join(seen)
    assert kills == len(lines), "".join(seen)
    return out[0]


@pytest.mark.parametrize(
    ("during_up", "during_scale", "during_down"),
    [
        pytest.param([1, 2, 3], [1, 1], [1], id="early"),
        pytest.param([9, 3, 1], [2, 2], [1], id="middle", marks=pytest.mark.long),
        pytest.param([17, 1, 6], [4, 1], [1], id="late"),
        pytest.param([13, 5], [3], [1], id="between", marks=pytest.mark.long),
    ],
)
def test_kills_are_survived(shell, during_up, during_scale, during_down):
    killed(shell, ["up", "--speed", SPEED, "examples/quickstart.yaml"], list(during_up))
    assert shell.asked("status", "quickstart")["healthy"]
    assert shell.kinds("quickstart") == UNDISTURBED
    killed(shell, ["scale", "quickstart", "flatcar-workers=5"], list(during_scale))
    assert len(shell.asked("get", "nodes", "quickstart")["items"]) == 6, (
        shell.ask("get", "machines")
        + shell.ask("get", "nodes")
        + shell.ask("get", "events")
        + shell.ask("get", "resources")
    )
    assert shell.kinds("quickstart") == UNDISTURBED | {"instance": 6}
    assert "0 resources are left" in killed(shell, ["down", "quickstart"], list(during_down))
    assert not shell.pid("quickstart")
