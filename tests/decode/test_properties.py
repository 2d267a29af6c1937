"""Any text gives values or located errors, never anything else; what is encoded decodes to the same value."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flatyard.decode import (
    BUTANE,
    IGNITION,
    KUBERNETES,
    Raw,
    decode,
    encode,
    from_json,
    json_front,
    yaml_front,
)
from flatyard.model.cluster import Cluster
from flatyard.model.machine import Machine, MachineDeployment

pieces = st.sampled_from(
    [
        *"{}[]:,-#&*!|>'\"%@`~ \n\t",
        "\n  ",
        "---\n",
        "<<: ",
        "a: ",
        "spec:",
        "kind: ",
        "0x",
        "1e9",
        "null",
        "\x00",
        "é",
        "\r",
    ]
)
texts = st.text() | st.binary() | st.lists(pieces, max_size=60).map("".join)


@given(texts)
@example(b"\xff\xfea\x00")
@example("a: !!binary x")
@example("? [a]\n: b")
@example("? {a: b}\n: *x")
@example("a: 1" + "0" * 5000)
@example("{" * 3000)
@settings(max_examples=300, deadline=None)
def test_any_text_reads_or_is_refused_with_a_place(text: str | bytes) -> None:
    for front in (yaml_front.read, json_front.read):
        reading = front(text, "f")
        for dialect in (KUBERNETES, BUTANE, IGNITION):
            for node in reading.documents:
                for cls in (Cluster, MachineDeployment):
                    for problem in decode(cls, node, "f", dialect).problems:
                        assert problem.position is not None and problem.position.line >= 1
        for problem in reading.problems:
            assert problem.position is not None and problem.position.column >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
labels = st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=3)
references = st.fixed_dictionaries({"name": st.text(max_size=5), "key": st.text(max_size=5)})
variables = (
    st.text(max_size=8)
    | st.fixed_dictionaries({"secretKeyRef": references})
    | st.fixed_dictionaries({"value": st.text(max_size=5), "configMapKeyRef": references})
)
machines = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("a")}, optional={"labels": labels, "annotations": labels}
        ),
        "spec": st.fixed_dictionaries(
            {
                "providerSpec": st.fixed_dictionaries(
                    {
                        "value": st.fixed_dictionaries(
                            {
                                "cloudProvider": st.just("aws"),
                                "operatingSystem": st.just("flatcar"),
                                "cloudProviderSpec": st.fixed_dictionaries(
                                    {},
                                    optional={
                                        "region": variables,
                                        "ebsVolumeEncrypted": st.booleans(),
                                        "tags": labels,
                                        "securityGroupIDs": st.lists(variables, max_size=3),
                                        "unknown": json_values,
                                    },
                                ),
                            },
                            optional={"sshPublicKeys": st.lists(st.text(max_size=5), max_size=3)},
                        )
                    }
                )
            },
            optional={
                "configSource": json_values,
                "providerID": st.text(max_size=9),
                "x-unknown": json_values,
            },
        ),
    },
    optional={"extraKey": json_values},
)


@given(machines)
@settings(deadline=None)
def test_what_is_encoded_decodes_to_the_same(tree: dict[str, object]) -> None:
    value = from_json(Machine, tree)  # type: ignore[arg-type]
    assert from_json(Machine, encode(value)) == value
    assert from_json(Machine, encode(value, full=True)) == value


@given(json_values)
def test_raw_values_come_back(value: object) -> None:
    raw = Raw(value)  # type: ignore[arg-type]
    tree = {"metadata": {"name": "a"}, "spec": {"cloud": {"local": {}}}, "status": value}
    found = from_json(Cluster, tree)  # type: ignore[arg-type]
    assert found.status == (raw if value is not None else None)
    assert encode(found).get("status") == value
