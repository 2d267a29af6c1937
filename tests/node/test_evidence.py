"""Evidence as it is found on real consoles: among other lines, cut, repeated, or only Ignition's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatyard.node.evidence import (
    LONGEST_LINE,
    MOST_LINES,
    Report,
    format_report,
    is_passing,
    parse_console,
    remedy,
    told,
)

BLOCK = format_report(Report("containerd.service", "exit-code", ("invalid plugin config", "exit 1")))


def test_a_block_is_found_among_other_lines_and_behind_time_stamps() -> None:
    lines = [f"[   12.34] {line}\r\nnoise" for line in BLOCK.splitlines()]
    found = parse_console("\n".join(["login: ", *lines, "more"]))
    assert found == Report("containerd.service", "exit-code", ("invalid plugin config", "exit 1"))


def test_the_last_complete_block_counts() -> None:
    later = format_report(Report("flatyard-join.service", "timeout", ("b",)))
    cut = "flatyard-evidence: unit=x.service result=exit-code\nflatyard-evidence| half"
    found = parse_console(BLOCK + later + cut)
    assert found is not None and found.unit == "flatyard-join.service"


def test_ignitions_own_failure_is_evidence_when_no_unit_ran() -> None:
    console = (
        "[    5.1] ignition[611]: fetched referenced config\n"
        "[    9.2] ignition[611]: CRITICAL : failed to create files: sha256 mismatch for /opt/extensions/x.raw\n"
        "[    9.3] ignition[611]: Ignition failed: failed to create files\n"
    )
    found = parse_console(console)
    assert found is not None and found.unit == "ignition" and "sha256 mismatch" in found.lines[0]


def test_a_healthy_console_is_no_evidence() -> None:
    assert parse_console("") is None
    assert parse_console("ignition[611]: files: op(1): [finished] writing file\nlogin:\n") is None


@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=300), max_size=30
    )
)
def test_whatever_a_unit_logged_comes_back(lines: list[str]) -> None:
    report = Report("a.service", "exit-code", tuple(lines))
    found = parse_console(format_report(report))
    assert found == Report(
        "a.service", "exit-code", tuple(line[:LONGEST_LINE] for line in lines[-MOST_LINES:])
    )


def test_the_line_that_says_most_comes_first_and_systemds_own_words_are_left_out() -> None:
    lines = (
        "flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there and merged?",
        "flatyard-join.service: Main process exited, code=exited, status=1/FAILURE",
        "flatyard-join.service: Failed with result 'exit-code'.",
        "flatyard-join.service: Scheduled restart job, restart counter is at 13.",
        "Starting flatyard-join.service - kubeadm join...",
        "flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there and merged?",
    )
    said = told("systemd-sysext.service", lines)
    assert said == f"systemd-sysext.service: {lines[0]}\n{lines[0]}"
    assert remedy(said).startswith("flatyard sysext inspect")


def test_of_kubeadms_errors_the_check_that_failed_is_told() -> None:
    lines = (
        "[preflight] Some fatal errors occurred:",
        "\t[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists",
        "error: error execution phase preflight: preflight checks failed",
    )
    assert told("flatyard-join.service", lines).startswith("flatyard-join.service: [ERROR FileAvailable--")


def test_a_log_without_errors_is_told_by_its_last_line() -> None:
    assert (
        told("a.service", ("one", 'level=info msg="skipped" error="none"', "two"))
        == "a.service: two\none\ntwo"
    )
    assert told("a.service", ()) == "a.service: failed"


def test_a_full_disk_is_told_before_what_followed_from_it() -> None:
    lines = (
        'time="2026-11-21T18:27:37Z" level=warning msg="removal failed" error="write: no space left on device"',
        "ctr: failed to extract layer: write /var/lib/containerd/coredns: no space left on device: unknown",
        "error: something else",
    )
    said = told("images.service", lines)
    assert said.startswith("images.service: ctr: failed to extract layer")
    assert remedy(said).startswith("its disk is full: make room")
    assert remedy("kubelet.service: cp: error writing 'x': No space left on device") == remedy(said)


def test_a_token_whose_rights_are_younger_than_itself_is_not_the_end() -> None:
    """The unit's next attempt finds them; what kubeadm refuses for good is another matter."""
    refused = (
        "[preflight] Running pre-flight checks",
        "error: error execution phase preflight: unable to fetch the kubeadm-config ConfigMap: failed to get config "
        'map: configmaps "kubeadm-config" is forbidden: User "system:bootstrap:7ohzt0" cannot get resource',
    )
    assert is_passing(told("flatyard-join.service", refused))
    assert not is_passing(
        told("flatyard-join.service", ("[ERROR FileAvailable--etc-kubernetes-kubelet.conf]",))
    )
