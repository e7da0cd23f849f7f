"""What a bundle must not contain: values of variables, and what looks like a credential. Pure.

In objects, values are removed by where they are: of an environment variable, or under a key that names a secret. In
texts, such as logs, they are removed by their form, and if an object has the same value. Names stay, and so do
references to Secrets, which have no value.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import yaml

from dagster_ray.kuberay._operator_rules.runtime_env_yaml import UNREADABLE, BoundedLoader

GONE = "(redacted)"
# Shorter ones are words of the language as well: to remove `prod` or `1` from a log would destroy it.
_LEAST_LENGTH = 8
_MOST_NESTED = 100
_LIMIT_YAML = 65536

_WORDS = (
    r"pass(?:word|wd|phrase)?|secret|token|credentials?|auth|authorization|cookie|signature|"
    r"(?:api|access|account|private|secret|encryption|client|signing|storage|shared|master|ssh)[-_]?key"
    r"(?:[-_]?(?:data|id))?|key[-_]?data|"
    r"(?<=[-_.;])pwd|(?-i:(?<=[a-z0-9])Pwd)"  # `PWD` alone is the working directory
)
_SECRET_KEY = re.compile(rf"(?:^|[-_./]|(?<=[a-z0-9]))(?:{_WORDS})$", re.IGNORECASE)
_OPTION = re.compile(rf"--?[\w-]*(?:{_WORDS})$", re.IGNORECASE)
# What is said of Ray's own workings, by which a failure is explained. Never what authenticates.
_HARMLESS = re.compile(r"(?:RAY_|KUBERAY_|PYTHON|OMP_|NCCL_|CUDA_)")
_DROPPED = {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
_ENVIRONMENTS = {"env_vars", "envVars"}
_RUNTIME_ENVS = {"runtimeEnvYAML", "runtime_env_json", "serialized_runtime_env"}

_SCHEMES = r"Bearer|Basic|Token|Negotiate"
_SCHEME = re.compile(rf"^(?:{_SCHEMES})[ \t]+", re.IGNORECASE)
# In Base64 there may be a `/`, as in a path, which has seldom capitals and digits and no other punctuation.
_RANDOM = re.compile(
    r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[\w+=-]{16,}|"
    r"(?!/)(?=\D*\d)(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[A-Za-z0-9+/]{20,}={0,2}"
)
_KEY_END = re.compile(r"[ \t]*-----END [A-Z ]*PRIVATE KEY-----")
_KEY_LINE = re.compile(r"[ \t]*[A-Za-z0-9+/=]{16,}[ \t\r]*")
# In quotes, which may be escaped, to the end of the line if they do not end there, or one word.
_QUOTED = r"\\{1,8}\"[^\"\n]*\"|\\{1,8}'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\\{0,8}[\"'][^\n]*"
# A user alone may be a token. A password may have a slash in it; a port has none before its end.
_USERINFO = r"(?<=://)(?:[^\s/@'\"]+|[^\s/@:'\"]*:(?!\d+[/?#])[^\s@'\"]{1,200})@"
_PASSWORD = re.compile(r"://[^\s/@:]*:(?!\d+[/?#])[^\s@]*@")
_USER = re.compile(r"://([^\s/@]+)@")
# A log can be a megabyte in one line, and what runs here holds the GIL: each pattern has to take linear time.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), GONE),
    (re.compile(rf"\b({_SCHEMES})[ \t]+[A-Za-z0-9._~+/=-]{{8,}}", re.IGNORECASE), rf"\1 {GONE}"),
    (re.compile(_USERINFO), f"{GONE}@"),
    (re.compile(r"(?<=[?&]sig=)[^&\s'\"]+"), GONE),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), GONE),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), GONE),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|hf_|dapi)[\w-]{16,}"), GONE),
    (  # headers whose values have blanks and semicolons
        re.compile(
            rf"\b((?:(?:set-)?cookie|(?:proxy-)?authorization)\\{{0,8}}['\"]?[ \t]*:[ \t]*)"
            rf"(?!\(redacted\)|(?:{_SCHEMES})[ \t])(?:{_QUOTED}|\S[^\n]*)",
            re.IGNORECASE,
        ),
        rf"\1{GONE}",
    ),
    (
        re.compile(
            rf"((?:{_WORDS})\\{{0,8}}['\"]?[ \t]*[=:][ \t]*|(?<![\w-])--[\w-]*(?:{_WORDS})[ \t]+)"
            rf"(?!\(redacted\)|(?:{_SCHEMES})[ \t]|(?:true|false|null|none)\b)"
            rf"(?:{_QUOTED}|[^\s,;&}}\]'\"]+)",
            re.IGNORECASE,
        ),
        rf"\1{GONE}",
    ),
)


def redacted(objects: Mapping[str, object]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return plain objects by name without their secrets, and the values that texts must not contain either.

    Args:
        objects: Manifests, lists of them, or anything else that JSON can hold.
    """
    found: set[str] = set()
    return {name: _walked(value, found, 0) for name, value in objects.items()}, frozenset(found)


def redacted_text(text: str, values: Iterable[str]) -> str:
    """Return a text without what looks like a credential, and without some values.

    Args:
        text: The text.
        values: What it must not contain, for example what `redacted` has found.
    """
    for value in sorted({*values}, key=len, reverse=True):
        if len(value) >= _LEAST_LENGTH:
            text = text.replace(value, GONE)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return _without_ends_of_keys(text)


def has_credentials(url: str) -> bool:
    """Return whether a URL contains what authenticates: a password, a token as its user, or one among its parameters.

    A user alone is none: in `abfs://container@account.dfs.core.windows.net` it is a container.
    """
    place, mark, query = url.partition("?")
    told = [*_USER.findall(place), mark + query]
    return _PASSWORD.search(place) is not None or any(redacted_text(one, ()) != one for one in told)


def _without_ends_of_keys(text: str) -> str:
    """Return a text without the end of a private key whose beginning was cut off with that of a log."""
    if "PRIVATE KEY-----" not in text:
        return text
    kept: list[str] = []
    for line in text.split("\n"):
        end, before = _KEY_END.match(line), len(kept)
        while end is not None and kept and _KEY_LINE.fullmatch(kept[-1]) is not None:
            kept.pop()
        kept.append(line if end is None or len(kept) == before else GONE + line[end.end() :])
    return "\n".join(kept)


def _mapping(value: object) -> Mapping[object, object] | None:
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None


def _walked(value: object, found: set[str], depth: int) -> Any:
    if depth > _MOST_NESTED:
        return GONE
    if (given := _mapping(value)) is not None:
        return {
            str(key): _member(given, str(key), item, found, depth) for key, item in given.items() if key not in _DROPPED
        }
    if isinstance(value, list | tuple):
        return [*_items(cast("Iterable[object]", value), found, depth)]
    return value


def _items(values: Iterable[object], found: set[str], depth: int) -> Iterator[Any]:
    """Yield the items of a list; what follows `--password` in the arguments of a command is gone."""
    is_secret = False
    for value in values:
        yield _gone(value, found) if is_secret else _walked(value, found, depth + 1)
        is_secret = isinstance(value, str) and _OPTION.fullmatch(value) is not None


def _member(owner: Mapping[object, object], key: str, value: object, found: set[str], depth: int) -> Any:
    """Return what stays of the value of a key."""
    name, inner = owner.get("name"), _mapping(value)
    if key in _ENVIRONMENTS and inner is not None:
        return {str(one): _variable(str(one), said, found, depth) for one, said in inner.items()}
    if key == "value" and isinstance(name, str):
        return _variable(name, value, found, depth)
    if key in _RUNTIME_ENVS and isinstance(value, str):
        return _runtime_env(value, found, depth)
    if _SECRET_KEY.search(key) is not None:
        if inner is not None and inner.get("value") is not None:
            return {**_walked(value, found, depth + 1), "value": _gone(inner["value"], found)}
        if isinstance(value, str):
            return _gone(value, found)
    return _walked(value, found, depth + 1)


def _variable(name: str, value: object, found: set[str], depth: int) -> Any:
    """Return the value of an environment variable if it can be no secret; a reference to a Secret is none."""
    if _mapping(value) is not None:
        return _walked(value, found, depth + 1)
    is_secret = _SECRET_KEY.search(name) is not None
    return value if _HARMLESS.match(name) is not None and not is_secret else _gone(value, found, is_secret=is_secret)


def _gone(value: object, found: set[str], *, is_secret: bool = True) -> Any:
    """Take note of a value that is removed if no text may contain it either: a secret's, or one that looks random."""
    if value is None or value in ("", True, False):
        return value
    if isinstance(value, str) and (is_secret or _RANDOM.fullmatch(value.strip()) is not None):
        found.add(_SCHEME.sub("", value.strip()))
    return GONE


def _runtime_env(text: str, found: set[str], depth: int) -> str:
    """Return a runtime environment in YAML or JSON without the values of its variables."""
    if len(text) > _LIMIT_YAML:
        return GONE
    try:
        read: object = yaml.load(text, BoundedLoader)  # noqa: S506 - a safe loader
    except UNREADABLE:
        return GONE
    return GONE if _mapping(read) is None else json.dumps(_walked(read, found, depth + 1), default=str)
