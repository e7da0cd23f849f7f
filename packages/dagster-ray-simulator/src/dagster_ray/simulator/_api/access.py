"""Which account may do what. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_ray.simulator._api.routes import Route
from dagster_ray.simulator._api.statuses import Refused
from dagster_ray.simulator._kubelet.resources import RESOURCES

ADMIN_TOKEN = "simulator"  # noqa: S105 - it protects nothing


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role; `*` stands for everything."""

    groups: Sequence[str]
    """API groups; `*` for all."""
    resources: Sequence[str]
    """Resources as a Role names them; `*` for all."""
    verbs: Sequence[str]
    """Verbs; `*` for all."""

    def allows(self, group: str, resource: str, verb: str) -> bool:
        """Return whether the rule grants a verb on a resource."""
        wanted = ((group, self.groups), (resource, self.resources), (verb, self.verbs))
        return all("*" in granted or one in granted for one, granted in wanted)


@dataclass(frozen=True, slots=True)
class Account:
    """Who has a token, and what it may do in which namespaces (None: in all)."""

    user: str
    """The user's name."""
    rules: Sequence[Rule] = ()
    """What the account may do."""
    namespaces: frozenset[str] | None = None
    """Where the rules hold."""


_VERBS = ("create", "get", "list", "watch", "update", "patch", "delete", "deletecollection", "ray:write")
_PARTS = (("", "pods/log"), ("", "pods/portforward"))
_SUBJECTS = (*((resource.group, resource.plural) for resource in RESOURCES.values()), *_PARTS)
ADMIN = Account("admin", (Rule(["*"], ["*"], ["*"]),))


@dataclass(slots=True)
class Access:
    """The accounts by token, and rights that were taken away for a test."""

    accounts: dict[str, Account] = field(default_factory=lambda: {ADMIN_TOKEN: ADMIN})
    """The accounts, by their tokens."""
    anonymous: Account = ADMIN
    """Who comes without a token: kubectl sends none over plain HTTP."""
    denied: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Verb and resource that nobody may use."""
    forward_verb: str = "create"
    """What a port-forward by websocket is called: `create` from Kubernetes 1.35 on, `get` before."""

    def account(self, headers: Mapping[str, str]) -> Account:
        """Return who calls.

        Raises:
            Refused: 401, the token is unknown.
        """
        header = {name.lower(): value for name, value in headers.items()}.get("authorization")
        if header is None:
            return self.anonymous
        token = header.removeprefix("Bearer ")
        if token not in self.accounts:
            raise Refused(401, "Unauthorized", "Unauthorized")
        return self.accounts[token]

    def allows(self, account: Account, group: str, resource: str, verb: str, namespace: str | None) -> bool:
        """Return whether an account may do something."""
        if (verb, resource) in self.denied:
            return False
        inside = account.namespaces is None or namespace in account.namespaces
        return inside and any(rule.allows(group, resource, verb) for rule in account.rules)

    def may_connect(self, token: str, namespace: str) -> bool:
        """Return whether the owner of a token may connect drivers, as heads with `enableK8sTokenAuth` ask."""
        account = self.accounts.get(token)
        return account is not None and self.allows(account, "ray.io", "rayclusters", "ray:write", namespace)

    def rules_of(self, account: Account, namespace: str) -> list[Rule]:
        """Return the rules of an account in a namespace, without the rights that were taken away from everybody."""
        return [
            Rule([group], [resource], [verb])
            for group, resource in _SUBJECTS
            for verb in _VERBS
            if self.allows(account, group, resource, verb, namespace)
        ]

    def check(self, account: Account, route: Route) -> None:
        """Raise `Refused` 403 if the account may not do what is asked."""
        resource = route.resource
        verb = self.forward_verb if route.subresource == "portforward" else route.verb
        if self.allows(account, resource.group, route.access_resource, verb, route.access_namespace):
            return
        namespace = route.access_namespace
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        name = f' "{route.name}"' if route.name else ""
        message = (
            f'{resource.qualified}{name} is forbidden: User "{account.user}" cannot {verb} resource '
            f'"{route.access_resource}" in API group "{resource.group}" {where}'
        )
        details = {"name": route.name} if route.name else {}
        group = {"group": resource.group} if resource.group else {}
        raise Refused(403, "Forbidden", message, {**details, **group, "kind": resource.plural})
