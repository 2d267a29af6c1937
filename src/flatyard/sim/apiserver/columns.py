"""The columns of built-in kinds' tables, as data; the descriptions are our own words."""

from __future__ import annotations

from flatyard.kube.kinds import Column, ColumnType

NAME = Column("Name", ColumnType.STRING, "", 0, "The object's name, unique in its namespace.", "name")
AGE = Column("Age", ColumnType.STRING, "", 0, "How long ago the object was created.")


def _text(name: str, description: str, priority: int = 0) -> Column:
    return Column(name, ColumnType.STRING, "", priority, description)


def _number(name: str, description: str) -> Column:
    return Column(name, ColumnType.INTEGER, "", 0, description)


_CONTAINERS = (
    _text("Containers", "Names of the template's containers.", 1),
    _text("Images", "Images of the template's containers.", 1),
)
_SELECTOR = _text("Selector", "Which pods belong to it.", 1)
_BINDING = (
    NAME,
    _text("Role", "The role that is given."),
    AGE,
    _text("Users", "Users who get it.", 1),
    _text("Groups", "Groups that get it.", 1),
    _text("ServiceAccounts", "Service accounts that get it.", 1),
)
_ROLE = (NAME, Column("Created At", ColumnType.DATE, "", 0, "When the object was created."))
PLAIN = (NAME, AGE)
BUILT_IN: dict[str, tuple[Column, ...]] = {
    "nodes": (
        NAME,
        _text("Status", "Whether the node is ready and takes pods."),
        _text("Roles", "What the node is for."),
        AGE,
        _text("Version", "The kubelet's version."),
        _text("Internal-IP", "The address inside the cloud.", 1),
        _text("External-IP", "The address outside the cloud.", 1),
        _text("OS-Image", "The operating system.", 1),
        _text("Kernel-Version", "The kernel's version.", 1),
        _text("Container-Runtime", "The runtime's version.", 1),
    ),
    "namespaces": (NAME, _text("Status", "The namespace's phase."), AGE),
    "pods": (
        NAME,
        _text("Ready", "Containers that are ready, of all."),
        _text("Status", "The sum of its containers' states."),
        _text("Restarts", "How often its containers were restarted."),
        AGE,
        _text("IP", "The pod's address.", 1),
        _text("Node", "Where it runs.", 1),
        _text("Nominated Node", "Where it will run once others left.", 1),
        _text("Readiness Gates", "Further conditions for readiness.", 1),
    ),
    "secrets": (
        NAME,
        _text("Type", "What the secret is for."),
        _text("Data", "How many entries it has."),
        AGE,
    ),
    "configmaps": (NAME, _text("Data", "How many entries it has."), AGE),
    "services": (
        NAME,
        _text("Type", "How it is exposed."),
        _text("Cluster-IP", "Its address in the cluster."),
        _text("External-IP", "Its addresses outside."),
        _text("Port(s)", "Its ports."),
        AGE,
        _text("Selector", "Which pods it leads to.", 1),
    ),
    "serviceaccounts": (NAME, _text("Secrets", "How many secrets it refers to."), AGE),
    "events": (
        _text("Last Seen", "When it happened last."),
        _text("Type", "Normal or Warning."),
        _text("Reason", "What, in a word."),
        _text("Object", "What it is about."),
        _text("Subobject", "Which part of that.", 1),
        _text("Source", "Who says so.", 1),
        _text("Message", "What happened."),
        _text("First Seen", "When it happened first.", 1),
        _text("Count", "How often it happened.", 1),
        Column("Name", ColumnType.STRING, "", 1, NAME.description, "name"),
    ),
    "deployments.apps": (
        NAME,
        _text("Ready", "Replicas that are ready, of those wanted."),
        _text("Up-to-date", "Replicas of the newest template."),
        _text("Available", "Replicas that were ready for long enough."),
        AGE,
        *_CONTAINERS,
        _SELECTOR,
    ),
    "replicasets.apps": (
        NAME,
        _number("Desired", "Replicas that are wanted."),
        _number("Current", "Replicas that exist."),
        _number("Ready", "Replicas that are ready."),
        AGE,
        *_CONTAINERS,
        _SELECTOR,
    ),
    "daemonsets.apps": (
        NAME,
        _number("Desired", "Nodes that should run it."),
        _number("Current", "Nodes that run it."),
        _number("Ready", "Nodes on which it is ready."),
        _number("Up-to-date", "Nodes with the newest template."),
        _number("Available", "Nodes on which it was ready for long enough."),
        _text("Node Selector", "Which nodes run it."),
        AGE,
        *_CONTAINERS,
        _SELECTOR,
    ),
    "statefulsets.apps": (
        NAME,
        _text("Ready", "Replicas that are ready, of those wanted."),
        AGE,
        *_CONTAINERS,
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        _text("Min Available", "Pods that must stay."),
        _text("Max Unavailable", "Pods that may be missing."),
        _number("Allowed Disruptions", "Pods that may go now."),
        AGE,
    ),
    "leases.coordination.k8s.io": (NAME, _text("Holder", "Who holds it."), AGE),
    "customresourcedefinitions.apiextensions.k8s.io": _ROLE,
    "certificatesigningrequests.certificates.k8s.io": (
        NAME,
        AGE,
        _text("SignerName", "Who shall sign."),
        _text("Requestor", "Who asked."),
        _text("RequestedDuration", "For how long."),
        _text("Condition", "How far it is."),
    ),
    "persistentvolumeclaims": (
        NAME,
        _text("Status", "The claim's phase."),
        _text("Volume", "The volume it got."),
        _text("Capacity", "Its size."),
        _text("Access Modes", "How it can be mounted."),
        _text("StorageClass", "Its class."),
        _text("VolumeAttributesClass", "Its attributes' class."),
        AGE,
        _text("VolumeMode", "File system or block device.", 1),
    ),
    "persistentvolumes": (
        NAME,
        _text("Capacity", "Its size."),
        _text("Access Modes", "How it can be mounted."),
        _text("Reclaim Policy", "What becomes of it."),
        _text("Status", "The volume's phase."),
        _text("Claim", "Who has it."),
        _text("StorageClass", "Its class."),
        _text("VolumeAttributesClass", "Its attributes' class."),
        _text("Reason", "Why it failed."),
        AGE,
        _text("VolumeMode", "File system or block device.", 1),
    ),
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
}

SCALE = (
    NAME,
    _number("Desired", "Replicas that are wanted."),
    _number("Available", "Replicas that exist."),
    Column("Age", ColumnType.DATE, "", 0, AGE.description),
)
