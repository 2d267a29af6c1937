"""How the emulated services are configured: ports, and each one's file."""

from __future__ import annotations

from pathlib import Path

IDENTITY, IMAGE, PLACEMENT, NETWORK, COMPUTE, VOLUME, OBJECTS = (
    25000,
    29292,
    28778,
    29696,
    28774,
    28776,
    28080,
)
"""Below the ports from which connections leave: a service could find its own taken."""
AUTH_URL = "http://127.0.0.1:5000/v3"
INNER_AUTH_URL = f"http://127.0.0.1:{IDENTITY}/v3"

OF_ITS_OWN = (
    "The 'service_type' parameter is unnecesary",
    "The _compute_attributes method is deprecated",
    "Support for InfluxDB requires",
    "The field 'maxPersonality",
)
"""How warnings begin that openstacksdk gives itself for what it calls within itself."""


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
        + "rpc_workers = 0\nenable_dvr = false\n"
        + f"api_paste_config = {python}/etc/neutron/api-paste.ini\nstate_path = {folder}/state\n"
        + "notify_nova_on_port_status_changes = false\nnotify_nova_on_port_data_changes = false\n"
        + "dhcp_agent_notification = false\nallow_automatic_l3agent_failover = false\n"
        + database("neutron")
        + locks
        + f"[nova]\n{login}[placement]\n{login}"
        + token("network"),
        "cinder.conf": common("cinder")
        + f"transport_url = fake://\nhost = host1\nstate_path = {folder}/state\nperiodic_fuzzy_delay = 0\n"
        + "scheduler_driver_init_wait_time = 1\n"
        + f"api_paste_config = {python}/etc/cinder/api-paste.ini\nenabled_backends = nowhere\n"
        + f"glance_api_servers = http://127.0.0.1:{IMAGE}\n"
        + "[nowhere]\nvolume_driver = flatyard_volumes.Volumes\nvolume_backend_name = nowhere\n"
        + f"[coordination]\nbackend_url = file://{folder}/state/coordination\n"
        + database("cinder")
        + locks
        + f"[nova]\n{login}interface = internal\n[service_user]\nsend_service_user_token = true\n{login}"
        + token("volumev3"),
        "ml2_conf.ini": "[ml2]\ntype_drivers = flat,vlan,vxlan\ntenant_network_types = vxlan\n"
        "mechanism_drivers = flatyard\nextension_drivers = port_security\n"
        "[ml2_type_flat]\nflat_networks = physnet1\n[ml2_type_vxlan]\nvni_ranges = 1:1000\n"
        "[securitygroup]\nenable_security_group = true\n",
        "nova.conf": common("nova")
        + "transport_url = fake://\ncompute_driver = fake.FakeDriver\nhost = host1\nmy_ip = 127.0.0.1\n"
        + f"state_path = {folder}/state\ninstances_path = {folder}/state/instances\n"
        + "enabled_apis = osapi_compute\ncpu_allocation_ratio = 1.0\ncell_worker_thread_pool_size = 32\n"
        + "block_device_allocate_retries_interval = 1\n"
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
