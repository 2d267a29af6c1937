"""Adapters that break one promise each, and the check of the conformance suite that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clouds.twins import check
from flatyard.base.errors import Problem
from flatyard.clouds import conformance
from flatyard.clouds.cloud import (
    TAG_CLUSTER,
    ClusterRef,
    CreateRequest,
    Endpoint,
    Evidence,
    Image,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    NoCapacity,
    Owned,
    QuotaExceeded,
    RateLimited,
    Rejected,
    Stashed,
    Transient,
)
from flatyard.clouds.naming import bucket_of
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.networks import Networks
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment


class Tokenless(SimCloud):
    """Each call is a new create."""

    calls = 0

    def _key(self, request: CreateRequest) -> str:
        Tokenless.calls += 1
        return f"{request.machine_id}-{Tokenless.calls}"


class FindsByListAlone(Tokenless):
    """Looks into the list before it creates, and has no token besides: lists lag."""

    async def create(self, request: CreateRequest) -> Instance:
        for known in await self.machines(request.cluster):
            if (known.machine_id, known.attempt) == (request.machine_id, request.attempt):
                return known
        return await super().create(request)


class Amnesiac(SimCloud):
    """Lists what this process made."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._made: set[str] = set()

    async def create(self, request: CreateRequest) -> Instance:
        made = await super().create(request)
        self._made.add(made.id)
        return made

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(one for one in await super().machines(ref) if one.id in self._made)


class ForgetsAttempts(SimCloud):
    """A machine id is enough for it to know its machine again, whatever became of that one."""

    async def create(self, request: CreateRequest) -> Instance:
        for known in await self.machines(request.cluster):
            if known.machine_id == request.machine_id:
                return known
        return await super().create(request)


class CallsAllWorkers(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, role=type(one.role).WORKER) for one in await super().machines(ref))


class OneZone(SimCloud):
    def _zone(self, request: CreateRequest) -> str:
        return request.network.zones[0]


class Final(SimCloud):
    """Takes every refusal for the last word."""

    async def create(self, request: CreateRequest) -> Instance:
        try:
            return await super().create(request)
        except (RateLimited, Transient) as no:
            raise Rejected(str(no)) from None


class QuotaIsTransient(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        try:
            return await super().create(request)
        except QuotaExceeded as no:
            raise Transient(str(no)) from None


class MuteAboutErrors(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, error="") for one in await super().machines(ref))


class FullIsFailed(SimCloud):
    """Does not tell a zone without room from any other failure."""

    async def create(self, request: CreateRequest) -> Instance:
        try:
            return await super().create(request)
        except NoCapacity as no:
            raise Transient(no.what, code=no.code) from None

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, no_capacity=False) for one in await super().machines(ref))


class HidesErrors(SimCloud):
    """Says that everything runs."""

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, state=InstanceState.RUNNING) for one in await super().machines(ref))


class StripsUserData(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        return await super().create(replace(request, user_data=request.user_data.strip()))


class CutsUserData(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        fits = request.user_data[: self.limits.user_data_bytes // 4 * 3]
        return await super().create(replace(request, user_data=fits))


class TellsUserData(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        try:
            return await super().create(request)
        except Transient as no:
            raise Transient(f"{no}: {request.user_data!r}") from None


class ShortensNames(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        return await super().create(replace(request, name=request.name[:40]))


class LetsUsersTag(SimCloud):
    """The user's tags go over ours."""

    async def create(self, request: CreateRequest) -> Instance:
        order = self._order

        def tagged(asked: CreateRequest, port: str) -> object:
            made = order(asked, port)
            return replace(made, tags={**made.tags, **asked.tags})

        self._order = tagged  # type: ignore[assignment,method-assign]
        return await super().create(request)


class RestartsByReplacing(SimCloud):
    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        await self.delete(ref, instance)


class InventsEvidence(SimCloud):
    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return Evidence("kubelet.service", ("no such file",), "console")


class SeesNoEvidence(SimCloud):
    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return None


class LeavesPorts(SimCloud):
    async def _drop_port(self, instance: Instance) -> None:
        return


class DeletesTheWholePool(SimCloud):
    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        for one in await self.machines(ref):
            await super().delete(ref, one)


class FirstPageOnly(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return (await super().machines(ref))[:50]


class ForgetfulSweep(SimCloud):
    async def delete_endpoint(self, ref: ClusterRef) -> None:
        return

    async def delete_network(self, ref: ClusterRef) -> None:
        return


class SweepsEverything(SimCloud):
    """Whatever is in the account, our tags or not."""

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(self._owned(row) for row in self.provider.left_over())


class SweepsMachinesOnly(SimCloud):
    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(thing for thing in await super().sweep(ref) if thing.kind == "instance")


class SweepsWithoutStamps(SimCloud):
    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(replace(thing, created="") for thing in await super().sweep(ref))


class MissingIsAnError(SimCloud):
    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        if owned not in await self.sweep(ref):
            raise Rejected(f"{owned.id} is not there")
        await super().delete_owned(ref, owned)


class NetworkAnew(SimCloud):
    """Each process makes a network."""

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        made = await super().ensure_network(ref, cluster)
        if not self._buckets:
            self._buckets["made"] = None
            own = cluster_tags(ref, self.provider.persona.facts.tags)
            self.provider.networks.create_network("again", "10.0.0.0/16", own)
        return made


class NetworkByPresence(SimCloud):
    """A network that is there is taken to be whole."""

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        kinds = {thing.kind for thing in await self.sweep(ref)}
        if "network" in kinds and "security-group" in kinds:
            return Network("n", ("s",), {}, ("a",), "10.0.0.0/16")
        return await super().ensure_network(ref, cluster)


class NetworkTakesMachines(SimCloud):
    async def delete_network(self, ref: ClusterRef) -> None:
        for instance in await self.machines(ref):
            await self.delete(ref, instance)
        await super().delete_network(ref)


class OnlyAddsBackends(SimCloud):
    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        made = await super().ensure_endpoint(ref, cluster, network, ())
        return replace(made, backends=(*self._known(ref), *backends))

    def _known(self, ref: ClusterRef) -> tuple[str, ...]:
        return tuple(row.id for row in self.provider.account.instances)


class EndpointAnew(SimCloud):
    """Changes an endpoint by deleting it."""

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        await self.delete_endpoint(ref)
        return await super().ensure_endpoint(ref, cluster, network, backends)


class NeedsBackends(SimCloud):
    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        if not backends:
            return Endpoint("", 6443, True)
        return await super().ensure_endpoint(ref, cluster, network, backends)


class LeavesAddresses(SimCloud):
    async def delete_endpoint(self, ref: ClusterRef) -> None:
        kept = Networks.delete_address
        Networks.delete_address = lambda self, address: None  # type: ignore[method-assign]
        try:
            await super().delete_endpoint(ref)
        finally:
            Networks.delete_address = kept  # type: ignore[method-assign]


class OldestFirst(SimCloud):
    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return tuple(reversed(await super().images(query)))


class AnyVersion(SimCloud):
    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return await super().images(replace(query, version=None))


class AnyArchitecture(SimCloud):
    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return await super().images(replace(query, arch="amd64"))


class NoPreflight(SimCloud):
    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        return ()


class PreflightMakes(SimCloud):
    """Finds out by trying."""

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        await self.ensure_network(ref, cluster)
        return await super().preflight(cluster, deployments)


class NeverUnstashes(SimCloud):
    async def unstash(self, ref: ClusterRef, key: str) -> None:
        return


class UnstashesAll(SimCloud):
    async def unstash(self, ref: ClusterRef, key: str) -> None:
        for one in await self.provider.list_objects(bucket_of(ref)):
            await super().unstash(ref, one)


class StashesForEver(SimCloud):
    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        return await super().stash(ref, key, blob, 604_800)


class KeepsBuckets(SimCloud):
    async def delete_network(self, ref: ClusterRef) -> None:
        for kind in ("security-group", "subnet", "network"):
            for thing in await self.sweep(ref):
                if thing.kind == kind:
                    await self.delete_owned(ref, thing)


class KeysAreSecrets(SimCloud):
    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        return await super().stash(ref, f"{key}-{blob.decode()}", blob, ttl_seconds)


class DeletesWhatIsListed(SimCloud):
    """What no list shows is taken to be gone."""

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        if instance.id not in [one.id for one in await self.machines(ref)]:
            return
        await super().delete(ref, instance)


class ChangesItsMind(SimCloud):
    """Each process finds other images."""

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        found = await super().images(query)
        ChangesItsMind.turn = not ChangesItsMind.turn
        return found[1:] if ChangesItsMind.turn else found

    turn = False


class MissingNetworkIsAnError(SimCloud):
    async def delete_network(self, ref: ClusterRef) -> None:
        if not await self.sweep(ref):
            raise Rejected("there is no network")
        await super().delete_network(ref)


class MissingMachineIsAnError(SimCloud):
    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        if (await self.provider.get_instance(instance.id)).state is InstanceState.DELETING:
            raise Rejected("it is being deleted")
        await super().delete(ref, instance)


class HidesAddresses(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, addresses=()) for one in await super().machines(ref))


class RepliesInPart(SimCloud):
    """The reply has not what the request had."""

    async def create(self, request: CreateRequest) -> Instance:
        return replace(await super().create(request), attempt=0)


class ListsTwice(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return (await super().machines(ref)) * 2


class KeepsRoom(SimCloud):
    """Cuts off what it takes for too much."""

    async def create(self, request: CreateRequest) -> Instance:
        fits = request.user_data[: self.limits.user_data_bytes - 1]
        return await super().create(replace(request, user_data=fits))


class MendsNames(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        return await super().create(replace(request, name=request.name.replace("_/ ", "-")))


class TagsALot(SimCloud):
    async def create(self, request: CreateRequest) -> Instance:
        more = {f"ours-{number}": "x" for number in range(20)}
        return await super().create(replace(request, tags={**more, **request.tags}))


class AddressFirst(SimCloud):
    """Makes what a machine needs before it knows whether there will be one."""

    async def create(self, request: CreateRequest) -> Instance:
        own = cluster_tags(request.cluster, self.provider.persona.facts.tags)
        await self.provider.create_address(request.name, "", "", own)
        return await super().create(request)


class PublicBucket(SimCloud):
    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        self.provider.objects._signed = lambda url, plain: True  # type: ignore[method-assign]
        return await super().stash(ref, key, blob, ttl_seconds)


class BucketAnew(SimCloud):
    """Each stash makes a bucket."""

    calls = 0

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        BucketAnew.calls += 1
        own = cluster_tags(ref, self.provider.persona.facts.tags)
        await self.provider.create_bucket(f"{bucket_of(ref)}-{BucketAnew.calls}", own)
        return await super().stash(ref, key, blob, ttl_seconds)


class UrlsWithoutSignature(SimCloud):
    """What it tells machines to fetch, only its owner can."""

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        made = await super().stash(ref, key, blob, ttl_seconds)
        return replace(made, url=made.url.partition("?")[0])


class SparesMachinesTheFetch(SimCloud):
    """Puts into the user data what was stashed for the machine."""

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        self.stashed = blob
        return await super().stash(ref, key, blob, ttl_seconds)

    async def create(self, request: CreateRequest) -> Instance:
        return await super().create(replace(request, user_data=self.stashed))


class CallsNodesByTheirIds(SimCloud):
    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(replace(one, node_name=one.id) for one in await super().machines(ref))


class PrefixesUserData(SimCloud):
    """As one does it for cloud-init."""

    async def create(self, request: CreateRequest) -> Instance:
        return await super().create(replace(request, user_data=b"#cloud-config\n" + request.user_data))


class TakesTheClusterTagForOurs(SimCloud):
    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        rows = await self.provider.list_resources({TAG_CLUSTER: ref.id})
        return tuple(Owned(row.kind, row.id, row.name, created=row.created) for row in rows)


class SweepsFromMemory(SimCloud):
    """Shows what is ours, and deletes with it what looks so."""

    async def delete_network(self, ref: ClusterRef) -> None:
        await super().delete_network(ref)
        for row in await self.provider.list_resources({TAG_CLUSTER: ref.id}):
            if row.kind == "address":
                await self.provider.delete_address(row.id)


class SilentAboutNames(SimCloud):
    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        found = await super().preflight(cluster, deployments)
        return () if len(cluster.name) < 60 else found


class CannotDeleteSubnets(SimCloud):
    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        if owned.kind != "subnet":
            await super().delete_owned(ref, owned)


class SweepsWithoutMachines(SimCloud):
    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(replace(thing, machine_id="") for thing in await super().sweep(ref))


CARELESS: tuple[tuple[type[SimCloud], str, str, str], ...] = (
    (Tokenless, "create_twice_makes_one", "aws", "same request made"),
    (Tokenless, "create_twice_makes_one", "openstack", "same request made"),
    (Tokenless, "concurrent_creates_make_one", "aws", "creates at once made"),
    (Tokenless, "a_crash_in_the_midst_makes_one", "aws", "there should be"),
    (Tokenless, "a_lost_reply_makes_one", "aws", "there should be one machine"),
    (Tokenless, "lost_replies_in_a_row_make_one", "aws", "there should be"),
    (Tokenless, "a_new_process_creates_nothing_twice", "aws", "a new process made"),
    (FindsByListAlone, "a_late_list_makes_no_second", "aws", "was not listed yet"),
    (Amnesiac, "a_new_process_adopts_by_tag", "aws", "there should be one machine"),
    (ForgetsAttempts, "after_an_end_the_next_attempt_works", "aws", "the second attempt is"),
    (ForgetsAttempts, "the_next_attempt_is_another_instance", "aws", "the second attempt is"),
    (CallsAllWorkers, "the_role_is_shown", "aws", "a control plane is shown as worker"),
    (OneZone, "the_zone_is_the_one_asked_for", "aws", "asked for"),
    (Final, "throttling_is_waited_out", "aws", "a final refusal"),
    (Final, "throttling_that_lasts_is_told", "azure", "told as Rejected"),
    (Final, "a_server_error_makes_one", "gcp", "a final refusal"),
    (Final, "a_server_error_that_lasts_is_told", "aws", "a server error is told as Rejected"),
    (Final, "no_capacity_is_told", "aws", "told as Rejected"),
    (FullIsFailed, "no_capacity_is_told", "gcp", "told as Transient"),
    (FullIsFailed, "no_capacity_is_told", "openstack", "its zone has no room is not told"),
    (QuotaIsTransient, "a_quota_is_told_and_waited_for", "azure", "told as Transient"),
    (MuteAboutErrors, "an_instance_in_error_says_why", "openstack", "words for it are not shown"),
    (MuteAboutErrors, "no_capacity_is_told", "openstack", "no capacity is shown as"),
    (HidesErrors, "an_instance_in_error_says_why", "openstack", "is shown as running"),
    (HidesErrors, "an_ended_instance_is_not_shown_as_living", "aws", "it is shown as"),
    (StripsUserData, "user_data_arrives_byte_for_byte", "aws", "the machine finds"),
    (CutsUserData, "user_data_beyond_the_limit_is_rejected", "openstack", "was not refused"),
    (TellsUserData, "user_data_is_told_to_nobody", "aws", "user data shows in"),
    (ShortensNames, "the_longest_name_is_taken", "azure", "a name of 63 characters became"),
    (LetsUsersTag, "user_tags_do_not_replace_ours", "aws", "is another machine"),
    (RestartsByReplacing, "restart_keeps_id_and_addresses", "aws", "after a restart it is"),
    (InventsEvidence, "a_failed_boot_leaves_evidence", "aws", "there is no failure yet"),
    (InventsEvidence, "evidence_of_a_new_instance_is_none", "aws", "has not even booted"),
    (SeesNoEvidence, "a_failed_boot_leaves_evidence", "aws", "the evidence is None"),
    (LeavesPorts, "delete_takes_everything_of_the_machine", "openstack", "the machine is gone, and there is"),
    (DeletesTheWholePool, "delete_leaves_the_others", "aws", "there should be one machine"),
    (DeletesWhatIsListed, "what_no_list_shows_yet_can_be_deleted", "aws", "deleted before a list showed it"),
    (FirstPageOnly, "many_machines_come_on_all_pages", "azure", "200 were made, 50 are listed"),
    (Final, "many_machines_come_on_all_pages", "aws", "a final refusal"),
    (ForgetfulSweep, "sweep_is_empty_after_deleting", "aws", "left over"),
    (SweepsEverything, "sweep_and_list_show_nothing_of_others", "aws", "a machine of another cluster"),
    (SweepsEverything, "sweep_alone_spares_what_others_own", "aws", "changed another"),
    (SweepsEverything, "two_clusters_share_nothing", "gcp", "two clusters own the same thing"),
    (SweepsMachinesOnly, "sweep_finds_what_nobody_remembers", "aws", "sweep shows"),
    (SweepsWithoutStamps, "sweep_tells_when_a_machine_was_made", "aws", "is not told"),
    (MissingIsAnError, "a_deleted_owned_thing_may_be_missing", "aws", "is not there"),
    (NetworkAnew, "the_network_is_made_once", "aws", "made or removed something"),
    (NetworkByPresence, "a_half_made_network_is_completed", "aws", "after it was completed"),
    (NetworkTakesMachines, "the_network_stays_while_it_has_machines", "azure", "took a machine"),
    (OnlyAddsBackends, "the_endpoint_has_exactly_these_backends", "aws", "its backends are"),
    (OnlyAddsBackends, "the_endpoint_loses_a_backend_that_is_gone", "aws", "its backends are"),
    (EndpointAnew, "the_endpoint_has_exactly_these_backends", "aws", "name must never change"),
    (NeedsBackends, "the_endpoint_is_there_before_its_backends", "aws", "the endpoint is"),
    (LeavesAddresses, "the_endpoint_goes_and_comes", "azure", "something of the endpoint is left"),
    (OldestFirst, "images_come_newest_first", "aws", "the versions of stable come as"),
    (AnyVersion, "an_image_is_found_by_its_version", "aws", "brings"),
    (AnyVersion, "a_version_that_is_not_there_has_no_image", "aws", "version 1000.0.0 brings"),
    (AnyArchitecture, "images_are_of_the_architecture", "aws", "asked for arm64, got"),
    (PreflightMakes, "preflight_finds_nothing_wrong", "aws", "preflight made something"),
    (PreflightMakes, "preflight_finds_a_wrong_size", "aws", "preflight made or removed something"),
    *(
        (NoPreflight, f"preflight_finds_{what}", "aws", "preflight says ''")
        for what in ("a_wrong_region", "a_wrong_size", "a_wrong_image", "a_wrong_zone", "a_wrong_subnet")
    ),
    (NoPreflight, "preflight_finds_a_quota", "azure", "preflight says ''"),
    (NoPreflight, "preflight_finds_a_wrong_name", "gcp", "preflight says ''"),
    (NeverUnstashes, "an_unstashed_secret_is_gone", "aws", "works after unstash"),
    (UnstashesAll, "an_unstashed_secret_is_gone", "gcp", "took another machine's secret"),
    (StashesForEver, "a_stash_ends", "azure", "works after its time"),
    (KeepsBuckets, "a_forgotten_secret_goes_with_its_cluster", "aws", "its secret can be fetched"),
    (PublicBucket, "a_changed_url_fetches_nothing", "aws", "a changed signature must not work"),
    (BucketAnew, "stashing_again_replaces", "azure", "made something besides"),
    (ChangesItsMind, "a_new_process_finds_the_same_images", "aws", "a new process finds"),
    (MissingNetworkIsAnError, "deleting_what_never_was_is_fine", "aws", "there is no network"),
    (MissingMachineIsAnError, "delete_twice_is_fine", "aws", "it is being deleted"),
    (HidesAddresses, "create_makes_what_was_asked_for", "aws", "it has no address"),
    (Tokenless, "a_token_means_one_request", "aws", "the same token made"),
    (RepliesInPart, "the_reply_is_what_the_list_shows", "aws", "the reply says"),
    (ForgetsAttempts, "after_an_error_the_next_attempt_works", "aws", "the second attempt is"),
    (ListsTwice, "lists_may_lag_and_agree_at_last", "local", "the list shows something else"),
    (KeepsRoom, "user_data_at_the_limit_arrives", "aws", "the machine finds"),
    (MendsNames, "an_odd_name_is_taken_or_rejected_whole", "aws", "became general-1"),
    (TagsALot, "user_tags_at_their_limits_are_taken", "aws", "InvalidParameterValue|tag"),
    (AddressFirst, "user_tags_in_any_script_are_taken_or_rejected_whole", "gcp", "made before the refusal"),
    (CannotDeleteSubnets, "sweep_alone_can_empty_the_account", "aws", "left over"),
    (SweepsWithoutMachines, "sweep_names_the_machine_of_each_thing", "aws", "sweep shows general-0001 as"),
    (PrefixesUserData, "machines_boot_from_their_user_data_and_join", "gcp", "has not joined"),
    (UrlsWithoutSignature, "machines_boot_from_their_user_data_and_join", "azure", "has not joined"),
    (CallsNodesByTheirIds, "machines_boot_from_their_user_data_and_join", "openstack", "it has joined as"),
    (UrlsWithoutSignature, "a_config_beyond_the_limit_is_fetched_or_refused", "aws", "has not joined"),
    (
        SparesMachinesTheFetch,
        "first_boot_secrets_are_gone_after_the_join",
        "gcp",
        "keys are in the user data",
    ),
    (NeverUnstashes, "first_boot_secrets_are_gone_after_the_join", "azure", "has come as far as"),
    (TakesTheClusterTagForOurs, "sweep_spares_what_is_not_tagged_owned", "aws", "which is not tagged owned"),
    (SweepsFromMemory, "sweep_spares_what_is_not_tagged_owned", "azure", "and went with the cluster"),
    (SilentAboutNames, "the_longest_cluster_name_is_taken", "gcp", "is not an instance's name"),
    (ShortensNames, "the_longest_cluster_name_is_taken", "aws", "became ccc"),
    (KeysAreSecrets, "a_secret_is_told_to_nobody", "aws", "the secret shows"),
)


@pytest.mark.parametrize(
    ("made", "name", "twin", "said"), CARELESS, ids=[f"{c.__name__}-{n}-{t}" for c, n, t, _ in CARELESS]
)
def test_a_careless_adapter_fails_the_suite(made: type[SimCloud], name: str, twin: str, said: str) -> None:
    named = next(one for one in conformance.CHECKS if one.__name__ == name)
    with pytest.raises((AssertionError, Rejected), match=said):
        check(twin, named, made)


def test_every_check_can_fail() -> None:
    shown = {name for _, name, _, _ in CARELESS}
    assert [name for name in conformance.NAMES if name not in shown] == ["preflight_finds_a_wrong_credential"]
