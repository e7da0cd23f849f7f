"""What a URL asks, and which right it needs."""

import pytest

from dagster_ray.simulator._api.routes import route_of

N = "/apis/ray.io/v1/namespaces/n"

PATHS: dict[str, tuple[str, str, tuple[str, str | None, str | None, str | None, str]]] = {
    "a list in a namespace": ("GET", f"{N}/rayjobs", ("rayjobs", "n", None, None, "list")),
    "a list in all namespaces": ("GET", "/apis/ray.io/v1/rayjobs", ("rayjobs", None, None, None, "list")),
    "a watch with 1": ("GET", f"{N}/rayjobs?watch=1", ("rayjobs", "n", None, None, "watch")),
    "a watch with true": ("GET", f"{N}/rayjobs?watch=true", ("rayjobs", "n", None, None, "watch")),
    "no watch with false": ("GET", f"{N}/rayjobs?watch=false", ("rayjobs", "n", None, None, "list")),
    "one object": ("GET", f"{N}/rayclusters/one", ("rayclusters", "n", "one", None, "get")),
    "the status of an object": ("PATCH", f"{N}/rayjobs/one/status", ("rayjobs", "n", "one", "status", "patch")),
    "a POST": ("POST", f"{N}/rayjobs?fieldValidation=Strict", ("rayjobs", "n", None, None, "create")),
    "a PUT": ("PUT", f"{N}/rayjobs/one", ("rayjobs", "n", "one", None, "update")),
    "a DELETE": ("DELETE", f"{N}/rayjobs/one", ("rayjobs", "n", "one", None, "delete")),
    "a DELETE of many": ("DELETE", f"{N}/rayjobs", ("rayjobs", "n", None, None, "deletecollection")),
    "a log": ("GET", "/api/v1/namespaces/n/pods/p/log?previous=true", ("pods", "n", "p", "log", "get")),
    "a port-forward by websocket": (
        "GET",
        "/api/v1/namespaces/n/pods/p/portforward?ports=10001",
        ("pods", "n", "p", "portforward", "create"),
    ),
    "a namespace": ("GET", "/api/v1/namespaces/n", ("namespaces", None, "n", None, "get")),
    "the namespaces": ("GET", "/api/v1/namespaces", ("namespaces", None, None, None, "list")),
    "a name that is escaped": ("GET", "/api/v1/namespaces/n/pods/a%2Db", ("pods", "n", "a-b", None, "get")),
    "a lease": (
        "PUT",
        "/apis/coordination.k8s.io/v1/namespaces/n/leases/l",
        ("leases", "n", "l", None, "update"),
    ),
}


@pytest.mark.parametrize(("method", "url", "expected"), PATHS.values(), ids=PATHS)
def test_a_url_names_objects_and_a_right(
    method: str, url: str, expected: tuple[str, str | None, str | None, str | None, str]
) -> None:
    route = route_of(method, url)
    assert route is not None
    assert (route.resource.plural, route.namespace, route.name, route.subresource, route.verb) == expected


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("/", id="the root"),
        pytest.param("/api", id="the core API"),
        pytest.param("/api/v1", id="its resources"),
        pytest.param("/apis/ray.io/v1", id="a group's resources"),
        pytest.param("/apis/absent.io/v1/rayjobs", id="an absent group"),
        pytest.param("/apis/ray.io/v2/rayjobs", id="an absent version"),
    ],
)
def test_other_urls_name_no_objects(url: str) -> None:
    assert route_of("GET", url) is None


def test_selectors_arrive_unescaped() -> None:
    route = route_of("GET", f"{N}/rayjobs?labelSelector=a%20in%20(b%2Cc)&limit=5&continue=x%3D%3D")
    assert route is not None
    assert dict(route.query) == {"labelSelector": "a in (b,c)", "limit": "5", "continue": "x=="}


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        pytest.param(f"{N}/rayjobs/one/status", "rayjobs/status", id="a status"),
        pytest.param("/api/v1/namespaces/n/pods/p/log", "pods/log", id="a log"),
        pytest.param(f"{N}/rayjobs/one", "rayjobs", id="an object"),
    ],
)
def test_a_part_of_an_object_has_its_own_right(url: str, resource: str) -> None:
    route = route_of("GET", url)
    assert route is not None
    assert route.access_resource == resource
