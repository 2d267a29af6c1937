"""The real Keystone, Glance, Placement, Neutron, Nova (with its fake driver) and, where it is asked for, Cinder on a
stage; no data plane behind them.

Files and databases are in memory, in a folder of their own. Making the databases takes a minute; they are kept by
the lock's digest and copied. Users come in through the proxy, where faults are made; the services talk to each other
directly.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import openstack

from emulators.openstack.configuration import (
    AUTH_URL,
    COMPUTE,
    IDENTITY,
    IMAGE,
    INNER_AUTH_URL,
    NETWORK,
    OBJECTS,
    PLACEMENT,
    VOLUME,
    files,
)
from emulators.openstack.objects import Objects
from emulators.openstack.proxy import Proxy
from emulators.stage import Stage, environment

HERE = Path(__file__).resolve().parent
FRONT: Mapping[str, tuple[int, int, str]] = {
    "identity": (5000, IDENTITY, "/v3"),
    "image": (9292, IMAGE, ""),
    "placement": (8778, PLACEMENT, ""),
    "network": (9696, NETWORK, ""),
    "compute": (8774, COMPUTE, "/v2.1"),
    "volumev3": (8776, VOLUME, "/v3/%(project_id)s"),
}
"""Per kind of service: the proxy's port, the service's own, and the path of its endpoint."""
EXTERNAL = "203.0.113.0/24"
SETTLED = 180.0
"""Seconds in which every server has come up or gone."""


@dataclass(frozen=True, slots=True)
class Account:
    """A project and its user: the words of a clouds.yaml entry."""

    project: str
    project_id: str
    user: str
    user_id: str
    password: str

    @property
    def auth(self) -> dict[str, str]:
        return {
            "auth_url": AUTH_URL,
            "username": self.user,
            "password": self.password,
            "project_name": self.project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        }


class Services:
    """Start once per stage; `account` makes projects that know nothing of each other. With `volumes`, Cinder too."""

    def __init__(self, stage: Stage, *, volumes: bool = False) -> None:
        self.stage = stage
        self.folder = Path(tempfile.mkdtemp(prefix="flatyard-openstack-", dir="/dev/shm"))
        self.python = environment("openstack")
        self.front = {kind: where for kind, where in FRONT.items() if volumes or kind != "volumev3"}
        self.proxy = Proxy({front: inner for front, inner, _ in self.front.values()})
        self.objects = Objects(OBJECTS)
        self.consoles = self.folder / "consoles"
        self._external = ""

    # ---- starting and ending

    def start(self) -> None:
        self._configure()
        self._databases()
        with ThreadPoolExecutor(6) as pool:
            first = [
                pool.submit(self._serve, "keystone", "keystone.wsgi.api", IDENTITY),
                pool.submit(self._serve, "glance", "glance.wsgi.api", IMAGE),
                pool.submit(self._serve, "placement", "placement.wsgi.api", PLACEMENT),
                pool.submit(self._serve, "neutron", "neutron.wsgi.api", NETWORK),
            ]
            if "volumev3" in self.front:
                first.append(pool.submit(self._cinder))
            first[0].result()
            self.stage.inside(self.proxy.start)
            self.stage.inside(self.objects.start)
            self.stage.inside(self._catalog)
            for service in first[2:]:
                service.result()
            self._nova()
            first[1].result()
        self.stage.inside(self._scenery)

    def close(self) -> None:
        """Forget everything; the stage ends the processes."""
        self.proxy.close()
        self.objects.close()
        for _ in range(20):  # the services still write into it
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)

    def _serve(self, name: str, module: str, port: int) -> None:
        words = [str(self.python / "bin/python"), str(HERE / "serve.py"), module, str(port)]
        self.stage.start(name, words, port=port, environment=self._environment())

    def _nova(self) -> None:
        self.consoles.mkdir()
        words = [
            str(self.python / "bin/python"),
            str(HERE / "serve_nova.py"),
            str(COMPUTE),
            str(self.consoles),
        ]
        self.stage.start("nova", words, port=COMPUTE, environment=self._environment())

    def _cinder(self) -> None:
        words = [str(self.python / "bin/python"), str(HERE / "serve_cinder.py"), str(VOLUME)]
        words.append(str(self.folder / "etc/cinder.conf"))
        self.stage.start("cinder", words, port=VOLUME, environment=self._environment())

    def _environment(self) -> dict[str, str]:
        etc = str(self.folder / "etc")
        names = ("KEYSTONE", "GLANCE", "PLACEMENT", "NOVA", "NEUTRON")
        return {
            **{f"OS_{name}_CONFIG_DIR": etc for name in names},
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2_conf.ini",
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
            "OS_CINDER_DISABLE_EVENTLET_PATCHING": "true",
            "PYTHONPATH": str(HERE / "plugins"),
            "PYTHONWARNINGS": "ignore",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    # ---- what it starts from

    def _configure(self) -> None:
        for name in ("etc", "db", "images", "log", "state", "locks", "fernet", "credential"):
            (self.folder / name).mkdir()
        for name, text in files(self.folder, self.python).items():
            (self.folder / "etc" / name).write_text(text)
        for paste in ("glance/glance-api-paste.ini", "nova/api-paste.ini"):
            shutil.copy(self.python / "etc" / paste, self.folder / "etc")

    def _databases(self) -> None:
        """Copied from the template; made first where there is none for this lock."""
        made_of = hashlib.sha256("".join(files(Path(), Path()).values()).encode()).hexdigest()[:12]
        template = self.python / f"template-{made_of}"
        with (self.python / "template.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not template.exists():
                self._make_databases()
                beside = self.python / "template.new"
                shutil.rmtree(beside, ignore_errors=True)
                for name in ("db", "fernet", "credential"):
                    shutil.copytree(self.folder / name, beside / name)
                (beside / "made-in").write_text(str(self.folder))
                beside.rename(template)
                shutil.rmtree(self.folder / "db")
        for name in ("db", "fernet", "credential"):
            shutil.copytree(template / name, self.folder / name, dirs_exist_ok=True)
        self._moved((template / "made-in").read_text())

    def _moved(self, before: str) -> None:
        """Nova notes in one database where the others are. With a write-ahead log, readers do not hold up writers."""
        for path in (self.folder / "db").iterdir():
            database = sqlite3.connect(path)
            database.execute("PRAGMA journal_mode=WAL")
            database.close()
        database = sqlite3.connect(self.folder / "db/nova_api.db")
        with database:
            words = "UPDATE cell_mappings SET database_connection = replace(database_connection, ?, ?)"
            database.execute(words, (before, str(self.folder)))
        database.close()

    def _make_databases(self) -> None:
        etc, db = self.folder / "etc", self.folder / "db"
        keystone = ("keystone-manage", "--config-file", str(etc / "keystone.conf"))
        nova = ("nova-manage", "--config-file", str(etc / "nova.conf"))
        urls = [f"--bootstrap-{kind}-url={INNER_AUTH_URL}" for kind in ("admin", "internal")]
        root = ("--keystone-user=root", "--keystone-group=root")
        cell0 = f"--database_connection=sqlite:///{db}/nova_cell0.db"
        bootstrap = (*keystone, "bootstrap", "--bootstrap-password=secret", "--bootstrap-region-id=RegionOne")
        lines: tuple[tuple[tuple[str, ...], ...], ...] = (
            (
                (*keystone, "db_sync"),
                (*keystone, "fernet_setup", *root),
                (*keystone, "credential_setup", *root),
                (*bootstrap, *urls, f"--bootstrap-public-url={AUTH_URL}"),
                ("glance-manage", "--config-file", str(etc / "glance-api.conf"), "db_sync"),
                ("placement-manage", "--config-file", str(etc / "placement.conf"), "db", "sync"),
                ("python", str(HERE / "neutron_tables.py"), f"sqlite:///{db}/neutron.db"),
                ("cinder-manage", "--config-file", str(etc / "cinder.conf"), "db", "sync"),
            ),
            (
                (*nova, "api_db", "sync"),
                (*nova, "cell_v2", "map_cell0", cell0),
                (*nova, "db", "sync"),
                (*nova, "cell_v2", "create_cell", "--name=cell1"),
            ),
        )
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._one_by_one, line) for line in lines]:
                done.result()

    def _one_by_one(self, commands: tuple[tuple[str, ...], ...]) -> None:
        for words in commands:
            program = str(self.python / "bin" / words[0])
            done = self.stage.command(program, *words[1:], environment=self._environment())
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def _catalog(self) -> None:
        """The services in the catalog: for users through the proxy, for each other directly."""
        admin = self.admin(direct=True)
        known = {service.type for service in admin.identity.services()}
        for kind, (front, inner, path) in self.front.items():
            if kind in known:
                continue
            service = admin.identity.create_service(type=kind, name=kind)
            for interface, port in (("public", front), ("internal", inner), ("admin", inner)):
                url = f"http://127.0.0.1:{port}{path}"
                admin.identity.create_endpoint(
                    service_id=service.id, interface=interface, url=url, region_id="RegionOne"
                )
        store = admin.identity.create_service(type="object-store", name="swift")
        url = f"http://127.0.0.1:{OBJECTS}/v1/AUTH_%(tenant_id)s"
        admin.identity.create_endpoint(
            service_id=store.id, interface="public", url=url, region_id="RegionOne"
        )
        roles = {role.name for role in admin.identity.roles()}
        for role in ("member", "reader", "service"):
            if role not in roles:
                admin.identity.create_role(name=role)
        user = admin.identity.find_user("admin", ignore_missing=False)
        project = admin.identity.find_project("admin", ignore_missing=False)
        service_role = admin.identity.find_role("service", ignore_missing=False)
        admin.identity.assign_project_role_to_user(project, user, service_role)

    def _scenery(self) -> None:
        """An external network and flavors, as an operator makes them."""
        admin = self.admin()
        external = admin.network.create_network(
            name="public",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network="physnet1",
        )
        admin.network.create_subnet(network_id=external.id, ip_version=4, cidr=EXTERNAL, enable_dhcp=False)
        self._external = external.id
        for name, cores, memory in (
            ("m3.tiny", 1, 3),
            ("m3.small", 2, 6),
            ("m3.quad", 4, 15),
            ("m3.huge", 5000, 9),
        ):
            admin.compute.create_flavor(name=name, ram=memory * 1024, vcpus=cores, disk=20)

    # ---- how it stands

    def busy(self, project_id: str) -> bool:
        """Whether Nova still makes, changes or removes a server of the project, as its own tables say.

        Asking its API would cost it and Neutron more than the work that is waited for.
        """
        begun = "build_requests WHERE project_id = ?"
        under_way = (
            "instances WHERE project_id = ? AND deleted = 0 AND (task_state > '' OR vm_state = 'building')"
        )
        # in this order: a request ends after its instance began
        return self._any("nova_api", begun, project_id) or self._any("nova", under_way, project_id)

    def empty(self, project_id: str) -> bool:
        """Whether Nova and Neutron have nothing of the project's but its default security group."""
        kinds = ("floatingips", "routers", "ports", "subnets", "networks")
        return not (
            self._any("nova_api", "build_requests WHERE project_id = ?", project_id)
            or self._any("nova", "instances WHERE project_id = ? AND deleted = 0", project_id)
            or any(self._any("neutron", f"{kind} WHERE project_id = ?", project_id) for kind in kinds)
            or self._any("neutron", "securitygroups WHERE project_id = ? AND name != 'default'", project_id)
        )

    def _any(self, name: str, rows: str, project_id: str) -> bool:
        with closing(sqlite3.connect(f"file:{self.folder}/db/{name}.db?mode=ro", uri=True)) as database:
            return database.execute(f"SELECT 1 FROM {rows}", (project_id,)).fetchone() is not None

    def settle(self, project_id: str, seconds: float = SETTLED) -> None:
        """Wait until it is not."""
        until = time.monotonic() + seconds
        while self.busy(project_id):
            assert time.monotonic() < until, f"Nova is busy for {seconds} s"
            time.sleep(0.05)

    # ---- who uses it

    def admin(self, *, direct: bool = False) -> openstack.connection.Connection:
        """The operator. `direct`: past the proxy."""
        return openstack.connection.Connection(
            auth_url=INNER_AUTH_URL if direct else AUTH_URL,
            username="admin",
            password="secret",
            project_name="admin",
            user_domain_id="default",
            project_domain_id="default",
            region_name="RegionOne",
            interface="internal",
        )

    def account(self, name: str, *, role: str = "member", **quotas: int) -> Account:
        """A new project with one user."""
        admin = self.admin()
        project = admin.identity.create_project(name=name, domain_id="default")
        user = admin.identity.create_user(name=name, password="pass-of-" + name, domain_id="default")
        found = admin.identity.find_role(role, ignore_missing=False)
        admin.identity.assign_project_role_to_user(project, user, found)
        plenty = {"instances": 1000, "cores": 5500, "ram": 50_000_000, "server_groups": 50}
        admin.compute.update_quota_set(project, **plenty)
        admin.network.update_quota(
            project.id, ports=5000, floating_ips=200, routers=50, security_group_rules=5000
        )
        if quotas:
            self.quotas(project.id, **quotas)
        return Account(name, project.id, name, user.id, "pass-of-" + name)

    def user(self, account: Account) -> openstack.connection.Connection:
        """The project's member, with the SDK alone."""
        return openstack.connection.Connection(region_name="RegionOne", **account.auth)

    def image(
        self, user: openstack.connection.Connection, version: str = "4593.2.5", **properties: str
    ) -> str:
        """A few bytes that say that they are a Flatcar image, in the user's own project; the id."""
        words = {"os_distro": "flatcar", "os_version": version, "architecture": "x86_64", **properties}
        made = user.image.create_image(
            name=f"flatcar-stable-{version}-amd64",
            disk_format="raw",
            container_format="bare",
            visibility="private",
            data=b"flatcar",
            allow_duplicates=True,  # the name is not looked up first
            **words,
        )
        return str(made.id)

    def quotas(self, project_id: str, **quotas: int) -> None:
        """Change a project's quotas, by their names in Nova or Neutron."""
        admin = self.admin()
        compute = {"instances", "cores", "ram", "server_groups", "key_pairs"}
        mine = {name: value for name, value in quotas.items() if name in compute}
        rest = {name: value for name, value in quotas.items() if name not in compute}
        if mine:
            admin.compute.put(f"/os-quota-sets/{project_id}", json={"quota_set": mine})
        if rest:
            admin.network.update_quota(project_id, **rest)

    def volume_quota(self, project_id: str, **quotas: int) -> None:
        """Change a project's quotas, by their names in Cinder."""
        self.admin().block_storage.put(f"/os-quota-sets/{project_id}", json={"quota_set": quotas})
