"""The members of a pool, as a step that wants one of them sees them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.fields import text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._pool.choice import Claimer, has_chance
from dagster_ray.kuberay._pool.members import Member, member_of
from dagster_ray.kuberay._pool.requests import PoolRequest

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._kubernetes.watch_stream import WatchStream


class View:
    """The members of a pool as a list and a watch tell of them, and what this step has tried."""

    def __init__(self, api: "KubernetesApi", request: PoolRequest, deadline: Deadline) -> None:
        """List them."""
        selector = request.selection.selector
        found = api.list(RAYCLUSTERS, request.namespace, deadline, label_selector=selector)
        self._api, self._request = api, request
        self._version = found.resource_version
        self.clusters: dict[str, Mapping[str, Any]] = {text(one, "metadata", "uid"): one for one in found.items}
        self.who = Claimer(request.claim_id, api.server_time(), request.ended_ids)
        self._watch: WatchStream | None = None

    def members(self, now: datetime) -> list[Member]:
        """Return what they say of themselves at `now`, a time of the API server."""
        found = [member_of(one, now) for one in self.clusters.values()]
        self.who = replace(self.who, chance_since=self._chance_since(found, now))
        return found

    def _chance_since(self, members: list[Member], now: datetime) -> datetime | None:
        return (self.who.chance_since or now) if has_chance(members, now, self.who, self._request.sizes) else None

    def failed(self, member: Member) -> None:
        """Note that a member is other than it was seen."""
        self.who = replace(self.who, tried={*self.who.tried, (member.uid, member.version)})

    def name_taken(self, slot: int) -> None:
        """Note that the name of a slot is taken."""
        self.who = replace(self.who, taken={*self.who.taken, slot})

    def queued(self, uid: str, cluster: Mapping[str, Any], until: datetime) -> None:
        """Note until when a member has this step's ticket; the watch still tells of what the member was before."""
        self.clusters[uid] = cluster
        self.who = replace(self.who, ticket_at=uid, ticket_until=until)

    def gone(self, uid: str, cluster: Mapping[str, Any] | None = None) -> None:
        """Note that a member is gone; its name is free again.

        Args:
            uid: The member's.
            cluster: What it was, if it may not be known here.
        """
        known = self.clusters.pop(uid, cluster)
        if known is not None:
            self.who = replace(self.who, taken=set(self.who.taken) - {member_of(known, self.who.since).slot})

    def follow(self, seconds: float) -> None:
        """Take in what has changed; the first change is waited for, for at most so many seconds."""
        if self._watch is None:
            self._watch = self._api.watch(
                RAYCLUSTERS,
                self._request.namespace,
                label_selector=self._request.selection.selector,
                resource_version=self._version or None,
                known=self.clusters.values(),
            )
        event = self._watch.next(max(0.0, seconds))
        while event is not None:
            uid = text(event.object, "metadata", "uid")
            if event.type == "DELETED":
                self.gone(uid, event.object)
            else:
                self.clusters[uid] = event.object
            event = self._watch.next(0)

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.close()
