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
    "a password by its short name": {"env": [{"name": "MYSQL_PWD", "value": SECRET}]},
    "an annotation": {"annotations": {"example.com/webhook-secret": SECRET}},
}
TEXTS: dict[str, tuple[str, str]] = {
    "a bearer token": (f"Authorization: Bearer {SECRET}", f"Authorization: Bearer {GONE}"),
    "a password in a URL": (f"redis://me:{SECRET}@host:1/0", f"redis://{GONE}@host:1/0"),
    "a variable in a shell": (f"export DB_PASSWORD={SECRET} x", f"export DB_PASSWORD={GONE} x"),
    "a Python dictionary": (f"{{'token': '{SECRET}', 'a': 1}}", f"{{'token': {GONE}, 'a': 1}}"),
    "a password in a connection string": (f"Uid=me;Pwd={SECRET};x=1", f"Uid=me;Pwd={GONE};x=1"),
    "a password by its short name": (f"MYSQL_PWD={SECRET} mysqldump", f"MYSQL_PWD={GONE} mysqldump"),
    "a key of a store": (f"storage_key={SECRET}", f"storage_key={GONE}"),
    "a password with a slash in a URL": (f"redis://me:a/{SECRET}@host:1/0", f"redis://{GONE}@host:1/0"),
    "cookies": (f"Cookie: theme=dark; session={SECRET}\nok", f"Cookie: {GONE}\nok"),
    "cookies that are set": (f"set-cookie: a={SECRET}; Path=/; b={SECRET}", f"set-cookie: {GONE}"),
    "cookies in a dictionary": (f"{{'Cookie': 'a=b; c={SECRET}', 'x': 1}}", f"{{'Cookie': {GONE}, 'x': 1}}"),
    "another scheme": (f"Authorization: Digest username=me, response={SECRET}", f"Authorization: {GONE}"),
    "JSON in JSON": (f'{{\\"token\\": \\"{SECRET}\\"}}', f'{{\\"token\\": {GONE}}}'),
    "a quote in a password": (f'password="a\\"{SECRET}" x', f"password={GONE} x"),
    "a quote that does not end": (f'password="a {SECRET}', f"password={GONE}"),
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
    "PWD=/home/ray",
    "the cookie was refused",
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


@pytest.mark.parametrize(
    ("value", "is_removed"),
    [
        pytest.param("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", True, id="Base64"),
        pytest.param("/data/Models/Llama3/weights", False, id="a path"),
        pytest.param("models/llama3/weights", False, id="a relative path"),
    ],
)
def test_a_value_of_a_plain_variable_is_removed_from_texts_if_it_looks_random(value: str, is_removed: bool) -> None:
    _, values = redacted({"object": {"env": [{"name": "PLACE", "value": value}]}})
    assert (redacted_text(f"read {value}.", values) == f"read {GONE}.") is is_removed


@pytest.mark.parametrize(("given", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_value_is_removed_by_its_form(given: str, expected: str) -> None:
    assert redacted_text(given, ()) == expected


LONG = {
    "dashes": ("-" * 200_000, "-" * 200_000),
    "beginnings of URLs with passwords": ("://a:b" * 50_000, "://a:b" * 50_000),
    "words before quotes": ("token='" * 50_000, f"token={GONE}" * 25_000),
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
    [
        ("s3://bucket/a", False),
        ("/var/log/a", False),
        ("abfs://container@account.dfs.core.windows.net/a", False),
        ("sftp://me@host/a", False),
        ("hdfs://host:8020/a@b", False),
        ("s3://bucket/token=a/b", False),
        ("ftp://me:pw@host/a", True),
        ("s3://me:p/w@bucket/a", True),
        ("simplecache::s3://me:pw@bucket/a", True),
        ("https://ghp_0123456789abcdef0123@host/a", True),
        ("az://a?sig=abc", True),
        ("https://host/a?api_key=abc", True),
    ],
)
def test_a_url_with_credentials_is_recognized(url: str, expected: bool) -> None:
    assert has_credentials(url) is expected
