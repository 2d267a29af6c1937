"""Reading kubeadm's configuration as kubeadm does, and refusing what it refuses."""

from __future__ import annotations

import pytest

from flatyard.sim.kubernetes import KubeadmError, read_init, read_join
from flatyard.sim.kubernetes.kubeadm import check_versions, seconds

CLUSTER = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.34.3
"""
JOIN = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  name: n1
  taints: []
  kubeletExtraArgs: [{name: node-ip, value: 10.0.0.1}, {name: node-labels, value: "a=b,c=d"}]
controlPlane: {localAPIEndpoint: {bindPort: 6443}}
timeouts: {discovery: 10m0s}
discovery:
  bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: "api.test:6443", caCertHashes: ["sha256:x"]}
"""


def test_a_join_is_read_whole():
    config = read_join(JOIN)
    assert config.node.name == "n1"
    assert config.node.taints == ()
    assert config.node.argument("node-ip") == "10.0.0.1"
    assert config.control_plane
    assert config.tls_token == config.token == "abcdef.0123456789abcdef"
    assert config.timeouts == {"discovery": 600.0}


def test_a_cluster_configuration_alone_is_enough_for_init():
    config = read_init(CLUSTER)
    assert config.cluster.kubernetes_version == "v1.34.3"
    assert config.node.taints is None
    assert config.cluster.node_cidr_mask_size == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no InitConfiguration or ClusterConfiguration"),
        ("a: [", "error converting YAML"),
        ("- a list", "kind and apiVersion is mandatory"),
        (CLUSTER.replace("v1beta4", "v1beta3"), "old API spec"),
        (CLUSTER.replace("apiVersion: kubeadm.k8s.io/v1beta4\n", ""), "apiVersion"),
        (CLUSTER.replace("kubernetesVersion: v1.34.3", ""), "kubernetesVersion"),
        (CLUSTER + "networking: nothing\n", "cannot unmarshal"),
        (CLUSTER + "controllerManager: {extraArgs: {a: b}}\n", "cannot unmarshal"),
        (CLUSTER + "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nbootstrapTokens: [{token: x}]",
         "must be of the form"),
    ],
)  # fmt: skip
def test_what_init_refuses(text, said):
    with pytest.raises(KubeadmError, match=said):
        read_init(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("JoinConfiguration", "JoinConfigurations"), "no JoinConfiguration"),
        (
            lambda text: text.replace("abcdef.0123456789abcdef", "ABCDEF.0123456789abcdef"),
            "must be of the form",
        ),
        (lambda text: text.replace("10m0s", "soon"), "invalid duration"),
        (lambda text: text.replace("bootstrapToken:", "file:"), "bootstrapToken or file"),
    ],
)
def test_what_join_refuses(change, said):
    with pytest.raises(KubeadmError, match=said):
        read_join(change(JOIN))


def test_durations_are_gos():
    assert [seconds(text) for text in ("1h2m3s", "1.5h", "90s", "500ms", "0")] == [
        3723.0,
        5400.0,
        90.0,
        0.5,
        0.0,
    ]


@pytest.mark.parametrize(
    ("kubeadm", "kubelet", "cluster", "said"),
    [
        ("v1.34.3", "v1.34.3", "v1.34.3", ""),
        ("v1.34.3", "v1.34.0", "v1.33.9", "higher than the control plane"),
        ("v1.35.0", "v1.34.0", "v1.34.9", ""),
        ("v1.34.3", "v1.34.3", "v1.35.0", "greater than kubeadm version"),
        ("v1.36.0", "v1.34.3", "v1.34.3", "only supports deploying clusters"),
        ("v1.34.3", "v1.30.1", "v1.34.0", "too old"),
        ("v1.34.3", "v1.34.3", "latest", "couldn't parse"),
    ],
)
def test_version_skew(kubeadm, kubelet, cluster, said):
    try:
        check_versions(kubeadm, kubelet, cluster)
    except KubeadmError as problem:
        assert said and said in problem.message
    else:
        assert not said
