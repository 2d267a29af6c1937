"""Ctrl-C and a timeout leave the background process at work, and say how to go on."""

from __future__ import annotations

import signal

FILE = "examples/quickstart.yaml"


def test_ctrl_c_detaches_and_a_short_timeout_is_partly_done(shell):
    process = shell.start("up", "--speed", "5", FILE)
    seen = []
    for text in process.stderr:
        seen.append(text)
        if "machine/quickstart-control-plane-1" in text:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130, "".join(seen) + rest
    assert "detached: the background process works on by itself" in rest
    assert f"  flatyard up {FILE}  # watches it again, and goes on" in rest
    assert rest.endswith("error: interrupted\n")
    assert "Traceback" not in rest
    pid = shell.pid("quickstart")
    assert pid

    process = shell.start("up", "--timeout", "0.2s", FILE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    assert "not done after 200ms" in err
    assert f"  next: flatyard up {FILE} goes on; the background process works on by itself" in err
    assert shell.pid("quickstart") == pid

    assert not shell.json("status", "quickstart", code=3)["healthy"]


def test_two_ups_at_once_share_one_process(shell):
    first, second = (shell.start("up", "--speed", "300", FILE) for _ in range(2))
    for process in (first, second):
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    assert shell.kinds("quickstart")["instance"] == 4
    assert shell.kinds("quickstart")["network"] == 1


def test_commands_about_a_cluster_that_is_not_there(flatyard):
    for command in (
        ["status", "nope"],
        ["kubeconfig", "nope"],
        ["scale", "nope", "a=1"],
        ["get", "nodes", "nope"],
    ):
        done = flatyard(*command)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            "error: there is no cluster 'nope'\n  why: known: none\n  next: flatyard up FILE makes one\n"
        )
