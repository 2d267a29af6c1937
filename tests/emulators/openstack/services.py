"""The real Keystone, Glance, Placement, Neutron and Nova (with its fake driver) on a stage; no data plane behind them.

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
from dataclasses import dataclass
from pathlib import Path

import openstack

from emulators.openstack.objects import Objects
from emulators.openstack.proxy import Proxy
from emulators.stage import Stage, environment

HERE = Path(__file__).resolve().parent
IDENTITY, IMAGE, PLACEMENT, NETWORK, COMPUTE, OBJECTS = 25000, 29292, 28778, 29696, 28774, 28080
"""Below the ports from which connections leave: a service could find its own taken."""
FRONT: Mapping[str, tuple[int, int, str]] = {
    "identity": (5000, IDENTITY, "/v3"),
    "image": (9292, IMAGE, ""),
    "placement": (8778, PLACEMENT, ""),
    "network": (9696, NETWORK, ""),
    "compute": (8774, COMPUTE, "/v2.1"),
}
"""Per kind of service: the proxy's port, the service's own, and the path of its endpoint."""
AUTH_URL = "http://127.0.0.1:5000/v3"
INNER_AUTH_URL = f"http://127.0.0.1:{IDENTITY}/v3"
EXTERNAL = "203.0.113.0/24"


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
    """Start once per stage; `account` makes projects that know nothing of each other."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.folder = Path(tempfile.mkdtemp(prefix="flatyard-openstack-", dir="/dev/shm"))
        self.python = environment("openstack")
        self.proxy = Proxy({front: inner for front, inner, _ in FRONT.values()})
        self.objects = Objects(OBJECTS)
        self.consoles = self.folder / "consoles"
        self._external = ""

    # ---- starting and ending

    def start(self) -> None:
        self._configure()
        self._databases()
        with ThreadPoolExecutor(5) as pool:
            first = [
                pool.submit(self._serve, "keystone", "keystone.wsgi.api", IDENTITY),
                pool.submit(self._serve, "glance", "glance.wsgi.api", IMAGE),
                pool.submit(self._serve, "placement", "placement.wsgi.api", PLACEMENT),
                pool.submit(self._serve, "neutron", "neutron.wsgi.api", NETWORK),
            ]
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

    def _environment(self) -> dict[str, str]:
        etc = str(self.folder / "etc")
        names = ("KEYSTONE", "GLANCE", "PLACEMENT", "NOVA", "NEUTRON")
        return {
            **{f"OS_{name}_CONFIG_DIR": etc for name in names},
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2_conf.ini",
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
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
        for kind, (front, inner, path) in FRONT.items():
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
        for role in ("member", "reader", "service"):
            if not admin.identity.find_role(role):
                admin.identity.create_role(name=role)
        user, project = admin.identity.find_user("admin"), admin.identity.find_project("admin")
        admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("service"))

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
        admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role(role))
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


def files(folder: Path, python: Path) -> dict[str, str]:
    """Each service's configuration file."""
    login = (
        f"auth_type = password\nauth_url = {INNER_AUTH_URL}\nusername = admin\npassword = secret\n"
        "project_name = admin\nuser_domain_id = default\nproject_domain_id = default\nregion_name = RegionOne\n"
        "valid_interfaces = internal\n"
    )

    def token(kind: str) -> str:
        return (
            f"[keystone_authtoken]\nwww_authenticate_uri = {AUTH_URL}\n{login}interface = internal\n"
            f"service_token_roles_required = false\nservice_type = {kind}\n"
        )

    def common(name: str) -> str:
        return f"[DEFAULT]\nlog_file = {folder}/log/{name}.log\n"

    def database(name: str, section: str = "database") -> str:
        return f"[{section}]\nconnection = sqlite:///{folder}/db/{name}.db?timeout=60\n"

    locks = f"[oslo_concurrency]\nlock_path = {folder}/locks\n[oslo_messaging_notifications]\ndriver = noop\n"
    return {
        "keystone.conf": common("keystone")
        + database("keystone")
        + "[token]\nprovider = fernet\n[api]\nresponse_validation = ignore\n"
        + "[identity]\npassword_hash_rounds = 4\n[cache]\nenabled = true\nbackend = oslo_cache.dict\n"
        + f"[fernet_tokens]\nkey_repository = {folder}/fernet\n[credential]\nkey_repository = {folder}/credential\n",
        "glance-api.conf": common("glance")
        + "enabled_backends = fs:file\nbind_host = 127.0.0.1\nworkers = 0\n"
        + f"node_staging_uri = file://{folder}/state\n"
        + f"[os_glance_staging_store]\nfilesystem_store_datadir = {folder}/state/staging\n"
        + f"[os_glance_tasks_store]\nfilesystem_store_datadir = {folder}/state/tasks\n"
        + database("glance")
        + f"[glance_store]\ndefault_backend = fs\n[fs]\nfilesystem_store_datadir = {folder}/images\n"
        + "[paste_deploy]\nflavor = keystone\n"
        + locks
        + token("image"),
        "placement.conf": common("placement")
        + database("placement", "placement_database")
        + "sync_on_startup = true\n[api]\nauth_strategy = keystone\n"
        + token("placement"),
        "neutron.conf": common("neutron")
        + "core_plugin = ml2\nservice_plugins = router,port_forwarding,tag\ntransport_url = fake://\n"
        + f"api_paste_config = {python}/etc/neutron/api-paste.ini\nstate_path = {folder}/state\n"
        + "notify_nova_on_port_status_changes = false\nnotify_nova_on_port_data_changes = false\n"
        + "dhcp_agent_notification = false\nallow_automatic_l3agent_failover = false\n"
        + database("neutron")
        + locks
        + f"[nova]\n{login}[placement]\n{login}"
        + token("network"),
        "ml2_conf.ini": "[ml2]\ntype_drivers = flat,vlan,vxlan\ntenant_network_types = vxlan\n"
        "mechanism_drivers = flatyard\nextension_drivers = port_security\n"
        "[ml2_type_flat]\nflat_networks = physnet1\n[ml2_type_vxlan]\nvni_ranges = 1:1000\n"
        "[securitygroup]\nenable_security_group = true\n",
        "nova.conf": common("nova")
        + "transport_url = fake://\ncompute_driver = fake.FakeDriver\nhost = host1\nmy_ip = 127.0.0.1\n"
        + f"state_path = {folder}/state\ninstances_path = {folder}/state/instances\n"
        + "enabled_apis = osapi_compute\ncpu_allocation_ratio = 1.0\n"
        + database("nova_api", "api_database")
        + database("nova")
        + f"[glance]\napi_servers = http://127.0.0.1:{IMAGE}\n"
        + f"[placement]\n{login}[neutron]\n{login}[service_user]\nsend_service_user_token = true\n{login}"
        + "[cinder]\ncatalog_info = volumev3::internalURL\n[vnc]\nenabled = false\n"
        + "[scheduler]\nworkers = 1\ndiscover_hosts_in_cells_interval = 10\n"
        + locks
        + f"[wsgi]\napi_paste_config = {python}/etc/nova/api-paste.ini\n"
        + token("compute"),
    }
