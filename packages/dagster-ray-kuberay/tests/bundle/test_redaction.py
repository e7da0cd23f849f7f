"""What a bundle does not contain, by rule: in objects by place, in texts by form."""

from typing import Any

import pytest

from dagster_ray.kuberay._bundle.redaction import GONE, has_credentials, redacted, redacted_text

SECRET = "s3cr3t-1a2b3c4d"
OBJECTS: dict[str, dict[str, Any]] = {
    "a variable of a container": {"env": [{"name": "DATABASE", "value": SECRET}]},
    "a variable of Ray that authenticates": {"env": [{"name": "RAY_AUTH_TOKEN", "value": SECRET}]},
    "variables of a runtime environment": {"runtime_env": {"env_vars": {"A": SECRET}}},
    "a runtime environment as YAML": {"runtimeEnvYAML": f"env_vars:\n  A: {SECRET}\n"},
    "a runtime environment that cannot be read": {"runtimeEnvYAML": f"{{env_vars: [{SECRET}"},
    "a runtime environment as JSON": {"serialized_runtime_env": f'{{"env_vars": {{"A": "{SECRET}"}}}}'},
    "a password of Redis": {"gcsFaultToleranceOptions": {"redisPassword": {"value": SECRET}}},
    "a header": {"headers": {"Authorization": f"Bearer {SECRET}"}},
    "a key of a kubeconfig": {"users": [{"user": {"client-key-data": SECRET, "token": SECRET}}]},
    "an argument of a command": {"args": ["serve", "--api-key", SECRET, "--verbose"]},
    "what kubectl has applied": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRET}},
    "an annotation": {"annotations": {"example.com/webhook-secret": SECRET}},
}
TEXTS: dict[str, tuple[str, str]] = {
    "a bearer token": (f"Authorization: Bearer {SECRET}", f"Authorization: Bearer {GONE}"),
    "a password in a URL": (f"redis://me:{SECRET}@host:1/0", f"redis://{GONE}@host:1/0"),
    "a variable in a shell": (f"export DB_PASSWORD={SECRET} x", f"export DB_PASSWORD={GONE} x"),
    "a Python dictionary": (f"{{'token': '{SECRET}', 'a': 1}}", f"{{'token': {GONE}, 'a': 1}}"),
    "an option": (f"serve --api-key {SECRET} --b", f"serve --api-key {GONE} --b"),
    "a presigned URL": (f"GET /a?X-Amz-Signature={SECRET}&b=1", f"GET /a?X-Amz-Signature={GONE}&b=1"),
    "a signature of Azure": (f"https://a/b?sv=1&sig={SECRET}", f"https://a/b?sv=1&sig={GONE}"),
    "a web token": ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", f"got {GONE}"),
    "a key of AWS": ("key AKIAIOSFODNN7EXAMPLE", f"key {GONE}"),
    "a private key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----\nok", f"{GONE}\nok"),
    "the end of a private key": ("MIIEpAIBAAKCAQEA7\n-----END PRIVATE KEY-----\nok", f"{GONE}\nok"),
}
KEPT = [
    "secretKeyRef:\n  key: token\n  name: db",
    "- secret:\n    secretName: certificates",
    "automountServiceAccountToken: false",
    "the token is missing",
    'secret "registry" not found',
    "unauthorized: incorrect username or password",
    "https://host:8265/x@y",
    "pull access denied for example.com/team/ray, repository does not exist or may require authorization",
]


@pytest.mark.parametrize("given", OBJECTS.values(), ids=OBJECTS)
def test_a_value_is_removed_by_its_place(given: dict[str, Any]) -> None:
    found, _ = redacted({"object": given})
    assert SECRET not in str(found)


def test_a_value_that_was_removed_from_an_object_is_removed_from_texts() -> None:
    objects: dict[str, Any] = {"env": [{"name": "A_TOKEN", "value": SECRET}, {"name": "MODE", "value": "production"}]}
    _, values = redacted({"object": objects})
    assert redacted_text(f"production prints {SECRET}", values) == f"production prints {GONE}"


@pytest.mark.parametrize(("given", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_value_is_removed_by_its_form(given: str, expected: str) -> None:
    assert redacted_text(given, ()) == expected


LONG = {
    "dashes": ("-" * 200_000, "-" * 200_000),
    "beginnings of web tokens": ("eyJ-" * 50_000, "eyJ-" * 50_000),
    "lines of Base64": (f"{'A' * 76}\n" * 2_500, f"{'A' * 76}\n" * 2_500),
    "the end of a long private key": (f"{'A' * 76}\n" * 2_500 + "-----END PRIVATE KEY-----", GONE),
}


@pytest.mark.parametrize(("given", "expected"), LONG.values(), ids=LONG)
def test_long_texts_take_linear_time(given: str, expected: str) -> None:
    assert redacted_text(given, ()) == expected  # with a quadratic pattern this does not end within minutes


@pytest.mark.parametrize("given", KEPT)
def test_names_and_references_stay(given: str) -> None:
    assert redacted_text(given, ()) == given


def test_what_explains_a_failure_of_ray_stays() -> None:
    given = {"env": [{"name": "RAY_CLUSTER_NAME", "value": "a"}], "name": "x", "secretName": "db", "replicas": 1}
    assert redacted({"object": given})[0] == {"object": given}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("s3://bucket/a", False), ("/var/log/a", False), ("ftp://me:pw@host/a", True), ("az://a?sig=abc", True)],
)
def test_a_url_with_credentials_is_recognized(url: str, expected: bool) -> None:
    assert has_credentials(url) is expected
