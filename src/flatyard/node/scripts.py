"""The shell scripts that a node runs at its first boot: short, POSIX, restartable."""

from __future__ import annotations

import re
from ipaddress import ip_network

from flatyard.base.errors import Refused
from flatyard.model.traits import NodeNameRule, NodeTraits
from flatyard.node import layout
from flatyard.node.inputs import ClusterSettings, NodeRole
from flatyard.node.kubeadm import etcd_data, learns_provider_id

_GET = "g(){ curl -sf --noproxy '*' -m 10 --retry 20 --retry-delay 3 --retry-all-errors \"$@\";}\n"

_ASK = {
    "aws": (
        "t=$(g -XPUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' http://{address}/latest/api/token)\n"
        'm(){ g -H "X-aws-ec2-metadata-token: $t" "http://{address}/latest/meta-data/$1";}\n'
    ),
    "azure": (
        "j=$(g -HMetadata:true 'http://{address}/metadata/instance/compute?api-version=2021-02-01')\n"
        'm(){ echo "$j"|jq -re ".$1";}\n'
    ),
    "gcp": "m(){ g -H 'Metadata-Flavor: Google' \"http://{address}/computeMetadata/v1/$1\";}\n",
    # The config drive where there is one, as afterburn has it: who asks for one often has no metadata service.
    "openstack": (
        "for l in config-2 CONFIG-2 -;do d=/dev/disk/by-label/$l;[ ! -e $d ]||break;done\n"
        "if [ -e $d ];then\nt=$(mktemp -d)\nmount -o ro $d $t\nj=$(cat $t/openstack/latest/meta_data.json)\numount $t\n"
        "else\nj=$(g http://{address}/openstack/latest/meta_data.json)\nfi\n"
        'm(){ echo "$j"|jq -re ".$1";}\n'
    ),
    "vsphere": (
        "m(){ sed -E 's/^VMware-//;s/[ -]//g;s/^(.{8})(.{4})(.{4})(.{4})/\\1-\\2-\\3-\\4-/'"
        " /sys/class/dmi/id/product_serial;}\n"
    ),
}
_ANSWERS = {
    "aws": {
        "id": "$(m instance-id)",
        "zone": "$(m placement/availability-zone)",
        # Not local-hostname: that may end in the domain of the VPC's DHCP options. PrivateDnsName, by which EC2's API,
        # the cloud controller and who signs for the kubelet know the node, does not (awslabs/amazon-eks-ami#1264).
        "dns": (
            "$(m placement/region).compute.internal\n"
            "[ $n != us-east-1.compute.internal ]||n=ec2.internal\n"
            "a=$(m local-ipv4)\n"
            "n=ip-$(echo $a|tr . -).$n"
        ),
    },
    "azure": {"account": "$(m subscriptionId)", "group": "$(m resourceGroupName)", "name": "$(m name)"},
    "gcp": {
        "account": "$(m project/project-id)",
        "zone": "$(m instance/zone)\nzone=${zone##*/}",
        "name": "$(m instance/name)",
    },
    "openstack": {"id": "$(m uuid)", "name": "$(m name)"},
    "vsphere": {"uuid": "$(m)", "id": "$(m)"},
}
"""By cloud: how a machine learns what its providerID is made of; `dns` is its private name."""

_FIELD = re.compile(r"\{(\w+)\}")


def identity_script(traits: NodeTraits) -> str:
    """Learns node name and providerID, fills kubeadm's configuration. Raises Refused for an unknown source."""
    by_name = traits.node_name is NodeNameRule.MACHINE_NAME
    learns = learns_provider_id(traits)
    script = "#!/bin/sh\nset -eu\numask 077\nmkdir -p /run/flatyard\n"
    if learns or not by_name:
        script += _GET + _ask(traits)
    script += (
        f"n=$(cat {layout.HOSTNAME_FILE})\n" if by_name else f"n={_answer(traits, 'dns')}\nn=${{n%% *}}\n"
    )
    script += _provider_id(traits) if learns else "p=\n"
    return script + (
        f'printf \'NODE_NAME=%s\\nPROVIDER_ID=%s\\n\' "$n" "$p" >{layout.ENV_FILE}\n'
        f'sed "s|{layout.PLACEHOLDER_NODE_NAME}|$n|;s|{layout.PLACEHOLDER_PROVIDER_ID}|$p|"'
        f" {layout.KUBEADM_CONFIG} >{layout.KUBEADM_READY_CONFIG}\n"
    )


def kubeadm_script(cluster: ClusterSettings, role: NodeRole, traits: NodeTraits, *, first: bool) -> str:
    """Runs kubeadm, going on where an earlier attempt stopped."""
    script = _HEAD
    if role is NodeRole.CONTROL_PLANE and traits.etcd_device:
        script += (
            f"mountpoint -q {layout.ETCD_DISK_FOLDER}||"
            f'blame {layout.ETCD_MOUNT} "the etcd disk is not mounted at {layout.ETCD_DISK_FOLDER}"\n'
        )
    if first:
        body = _INIT.replace("ETCD", etcd_data(traits))
    else:
        wait = _WAIT.replace("ENDPOINT", f"{cluster.endpoint_host}:{cluster.endpoint_port}")
        body = wait + (_JOIN_CONTROL_PLANE if role is NodeRole.CONTROL_PLANE else _JOIN_WORKER)
    return script + _with_mapping(body, cluster, role, traits, first=first) + _after(cluster, first=first)


def services_script(cluster: ClusterSettings) -> str:
    """Refuses connections to the API's service address that would leave the machine by its default route.

    Pods that start before kube-proxy has written its rules (CoreDNS, a pod network's agent) would send their first
    packets there, where nobody answers, and the kernel goes on sending that connection's packets there: client-go
    gives it up after 30 s. A connection that is refused is begun again within a second.

    Whoever serves the address has changed it before these rules see a packet (kube-proxy in its modes iptables and
    nftables at priority -100, IPVS just after it, Cilium at connect() or at the pod's device), or has a route of his
    own for it, as Antrea and Calico's eBPF mode do. Only this one address and port: others in the range may be real
    ones of the user's network, which kube-proxy leaves alone.
    """
    address = ip_network(cluster.services)[1]
    family, flag = ("ip6", "-6") if address.version == 6 else ("ip", "-4")
    return _SERVICES.replace("ADDRESS", str(address)).replace("FAMILY", family).replace("FLAG", flag)


_SERVICES = """\
#!/bin/sh
set -eu
d=$(ip FLAG -o route show default|sed -n 's/.* dev \\([^ ]*\\).*/\\1/p;q')
nft -f - <<E
table inet flatyard
delete table inet flatyard
table inet flatyard {
 chain refuse { oifname "$d" FAMILY daddr ADDRESS tcp dport 443 reject with tcp reset; }
 chain output { type filter hook output priority 10; jump refuse; }
 chain forward { type filter hook forward priority 10; jump refuse; }
}
E
"""


def evidence_script(traits: NodeTraits) -> str:
    """Prints the first failing unit and its last lines where the cloud can read them."""
    script = _EVIDENCE.replace("UNITS", " ".join(layout.EVIDENCE_ORDER))
    if traits.cloud == "openstack":
        script += f"for t in {layout.SERIAL_CONSOLES};do [ ! -c $t ]||cat $f>$t;done\n"
    if traits.cloud == "vsphere":
        script += (
            "for t in vmtoolsd /oem/bin/vmtoolsd /usr/share/oem/bin/vmtoolsd;do\n"
            '$t --cmd "info-set guestinfo.flatyard.evidence $(base64 -w0 $f)" 2>/dev/null&&break\n'
            "done\n"
        )
    return script


_HEAD = f"""\
#!/bin/sh
set -eu
PATH=$PATH:/opt/bin
k=/etc/kubernetes
c={layout.KUBEADM_READY_CONFIG}
blame(){{ echo "$1">{layout.CAUSE_FILE};echo "flatyard: $2";exit 1;}}
mkdir -p /run/flatyard
rm -f {layout.CAUSE_FILE}
command -v kubeadm>/dev/null||blame {layout.SYSEXT_UNIT} "no kubeadm: is {layout.EXTENSION_LINK} there and merged?"
[ "$(systemctl is-enabled kubelet 2>&1)" != masked ]||blame {layout.KUBELET_UNIT} "the kubelet is masked"
systemctl is-active -q containerd||blame {layout.CONTAINERD_UNIT} "containerd does not run"
[ -s $c ]||blame {layout.IDENTITY_UNIT} "there is no $c"
"""

_MAP = """\
map(){ sed '/ # flatyard$/d' /etc/hosts>/run/flatyard/hosts;echo "$1 HOST # flatyard">>/run/flatyard/hosts
cat /run/flatyard/hosts>/etc/hosts;}
"""

_WAIT = """\
i=0
until curl -sk -m 5 -o /dev/null https://ENDPOINT/readyz;do
[ $i -lt 300 ]||{ echo "flatyard: https://ENDPOINT does not answer";exit 1;}
[ $((i%30)) != 0 ]||echo "flatyard: waiting for https://ENDPOINT"
i=$((i+1));[ $i -gt 60 ]&&sleep 5||sleep 1
done
t=$(sed -n 's/^ *"*token"*: *"*\\([a-z0-9]\\{6\\}\\)\\..*/\\1/p' $c|head -n1)
i=0
until [ $i = 60 ]||[ -e /var/lib/kubelet/pki/kubelet-client-current.pem ]||
curl -sk -m 5 https://ENDPOINT/api/v1/namespaces/kube-public/configmaps/cluster-info|grep -q "jws-kubeconfig-$t";do
i=$((i+1));sleep 1
done
"""
"""kubeadm asks anew only every five seconds or more, so it starts when its token's signature is there; a token that is
never signed is for kubeadm to tell. Of a thousand machines that wait long each asks less often."""

_INIT = """\
s=
if [ -d ETCD/member ]||[ -e $k/manifests/kube-apiserver.yaml ];then s=--skip-phases=preflight;fi
kubeadm init $s --config $c
"""

_JOIN_WORKER = """\
if [ ! -e $k/kubelet.conf ]||[ ! -e /var/lib/kubelet/pki/kubelet-client-current.pem ];then
s=
if [ -e $k/pki/ca.crt ];then s=--skip-phases=preflight;rm -f $k/bootstrap-kubelet.conf $k/kubelet.conf $k/pki/ca.crt;fi
kubeadm join $s --config $c
fi
"""

_JOIN_CONTROL_PLANE = """\
if [ -e /var/lib/kubelet/pki/kubelet-client-current.pem ];then kubeadm join phase control-plane-join all --config $c
elif [ -e $k/manifests/kube-apiserver.yaml ];then kubeadm join --skip-phases=preflight --config $c
else kubeadm join --config $c;fi
"""

_EVIDENCE = """\
#!/bin/sh
u=$1
for x in UNITS;do if systemctl is-failed -q $x;then u=$x;break;fi;done
[ ! -s CAUSE ]||u=$(cat CAUSE)
f=/run/flatyard/evidence
mkdir -p /run/flatyard
{ echo "flatyard-evidence: unit=$u result=$(systemctl show -P Result "$u")"
for x in $u ${1#"$u"};do journalctl -b -q -o cat -n 10 -u $x;done|cut -c1-200|sed 's/^/flatyard-evidence| /'
echo "flatyard-evidence: end";}>$f
cat $f>/dev/console
""".replace("CAUSE", layout.CAUSE_FILE)
"""The cause has lines of its own: those of the unit that fails again and again for it would push them out."""


def _with_mapping(
    body: str, cluster: ClusterSettings, role: NodeRole, traits: NodeTraits, *, first: bool
) -> str:
    """The endpoint's name in /etc/hosts, where DNS does not know it or a backend cannot reach itself."""
    define = _MAP.replace("HOST", cluster.endpoint_host)
    if role is NodeRole.CONTROL_PLANE and not traits.hairpin:
        if first:
            return f"{define}map 127.0.0.1\n{body}"
        return f'{define}map "$(cat {layout.PEER_FILE})"\n{body}map 127.0.0.1\n'
    if cluster.endpoint_address not in ("", cluster.endpoint_host):
        return f"{define}map {cluster.endpoint_address}\n{body}"
    return body


def _after(cluster: ClusterSettings, *, first: bool) -> str:
    # until the first control plane has bound its admin, only super-admin.conf may hold the address's lease
    vip = f"sed -i s/super-admin.conf/admin.conf/ {layout.VIP_MANIFEST}\n" if first and cluster.vip else ""
    return f"{vip}mkdir -p {layout.STAMP.rpartition('/')[0]}\n: >{layout.STAMP}\nrm -f $c {layout.KUBEADM_CONFIG}\n"


def _ask(traits: NodeTraits) -> str:
    return _ASK.get(traits.cloud, "").replace("{address}", traits.metadata_address)


def _provider_id(traits: NodeTraits) -> str:
    """One assignment per part, because a failing one among several in one line would go unnoticed."""
    parts = dict.fromkeys(_FIELD.findall(traits.provider_id_format))
    asked = "".join(f"{part}={_answer(traits, part)}\n" for part in parts)
    return asked + "p=" + _FIELD.sub(r"$\1", traits.provider_id_format) + "\n"


def _answer(traits: NodeTraits, name: str) -> str:
    known = _ANSWERS.get(traits.cloud, {}).get(name)
    if known is None:
        raise Refused(
            f"a machine on {traits.cloud} cannot learn its {name!r}", why="the cloud's traits ask for it"
        )
    return known
