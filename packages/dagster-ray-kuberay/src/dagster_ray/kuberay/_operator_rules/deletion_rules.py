"""What KubeRay refuses about the end of a RayJob: `deletionStrategy`, before 1.5 `deletionPolicy`. Pure.

The API server has some of these rules too, as CEL rules of the RayJob CRD (apis/ray/v1/rayjob_types.go).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise

from dagster_ray.kuberay._operator_rules.rules import Part, Rule, Section, Values, itself, when

POLICIES = ("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
STATUSES: Mapping[str, tuple[str, ...]] = {"jobStatus": ("SUCCEEDED", "FAILED"), "jobDeploymentStatus": ("Failed",)}
"""The conditions of deletion rules, and what the releases up to 1.7 take for each."""
_SHOWN = {"jobStatus": "JobStatus", "jobDeploymentStatus": "JobDeploymentStatus"}
_GATE = "RayJobDeletionPolicy"
_SINCE = (1, 5, 0)
_refused = partial(Rule, since=_SINCE, always=True)
_refused_since_1_6 = partial(Rule, since=(1, 6, 0), always=True)
_refused_before = partial(Rule, before=_SINCE)
# Deleting less must not come after deleting more.
_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
_INSIDE_CLUSTER = ("DeleteCluster", "DeleteWorkers")
_OUTCOMES = ("onSuccess", "onFailure")
_RULES = "{path}.deletionRules"
_USE_ONE = f"use one of: {', '.join(POLICIES)}"
_SELECTED_ADVICE = "use DeleteSelf or DeleteNone: the cluster that is selected is not the RayJob's"
_WORKERS_ADVICE = "use DeleteCluster, or turn autoscaling off"


def _strategy_of(job: Part) -> Iterator[Part]:
    if job.has("deletionStrategy"):
        yield job.inside(job.value["deletionStrategy"], "deletionStrategy")


def _outcomes_of(job: Part) -> Iterator[Part]:
    for strategy in _strategy_of(job):
        for key in _OUTCOMES:
            if key in strategy.value:
                shown = key.removeprefix("on")
                yield strategy.inside(strategy.value[key], key, shown=shown, outcome=shown.lower())


def _rules_of(job: Part) -> Iterator[Part]:
    for strategy in _strategy_of(job):
        for n, rule in enumerate(strategy.parts("deletionRules")):
            yield strategy.inside(rule, f"deletionRules[{n}]", number=n)


def _job_of(part: Part) -> Part:
    """The RayJob's spec that a strategy, an outcome or a rule belongs to."""
    while part.around is not None:
        part = part.around
    return part


def _autoscales(part: Part) -> bool:
    return _job_of(part).switch("rayClusterSpec", "enableInTreeAutoscaling") is True


def _is_legacy(strategy: Part) -> bool:
    return any(key in strategy.value for key in _OUTCOMES)


def _excluded(job: Part) -> str | None:
    """What the spec sets beside `shutdownAfterJobFinishes` that needs it."""
    if job.switch("suspend"):
        return "suspend"
    return "ttlSecondsAfterFinished" if job.number("ttlSecondsAfterFinished") else None


# The strategy as a whole


def _rules_and_needs_of_shutdown(strategy: Part) -> Values | None:
    key = _excluded(_job_of(strategy))
    advice = "leave suspend out" if key == "suspend" else "use condition.ttlSeconds of each rule"
    return when(strategy.value.get("deletionRules") and key, key=key, instead=advice)


def _both_forms(strategy: Part) -> Values | None:
    given = [key for key in _OUTCOMES if key in strategy.value]
    return when(strategy.value.get("deletionRules") and given, key=given[0] if given else "")


def _one_of_two(strategy: Part) -> Values | None:
    missing = [key for key in _OUTCOMES if key not in strategy.value]
    return when(len(missing) == 1, key="".join(missing))


_NOTHING = "DeletionStrategy requires either BOTH onSuccess and onFailure, OR the deletionRules field (cannot be empty)"
_STRATEGY: tuple[Rule, ...] = (
    Rule(find=lambda strategy: when(not strategy.operator.on(_GATE)), field="{path}", line=764, since=_SINCE,
        words=f"{_GATE} feature gate must be enabled to use DeletionStrategy",
        advice=f"turn the operator's feature gate {_GATE} on, which it is from KubeRay 1.6 on"),
    _refused(find=lambda one: when(one.value.get("deletionRules") and _job_of(one).switch("shutdownAfterJobFinishes")),
        field=_RULES, line=772, is_prefixed=True,
        words="spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules are mutually exclusive",
        reason="is set while spec.shutdownAfterJobFinishes is true", advice="leave that out"),
    _refused(find=_both_forms, field="{path}.{key}", line=775, is_prefixed=True,
        words="Cannot use both legacy onSuccess/onFailure fields and deletionRules simultaneously",
        reason="is set as well as deletionRules", advice="keep one of the two forms"),
    _refused(find=_rules_and_needs_of_shutdown, field=_RULES,
        reason="is set while spec.{key} is set, which needs spec.shutdownAfterJobFinishes, which this excludes",
        advice="{instead}"),
    _refused(find=lambda strategy: when(not _is_legacy(strategy) and not strategy.has("deletionRules")),
        field="{path}.onSuccess", line=788, is_prefixed=True,
        words=_NOTHING,
        reason="is missing", advice="give both onSuccess and onFailure, or deletionRules"),
    _refused(find=lambda one: when(not _is_legacy(one) and one.has("deletionRules") and not one.parts("deletionRules")),
        field=_RULES, line=788, is_prefixed=True,
        words=_NOTHING,
        reason="has no rule", advice="give one rule at least"),
    _refused(find=_one_of_two, field="{path}.{key}", line=933,
        words="both DeletionStrategy.OnSuccess and DeletionStrategy.OnFailure must be set when using the legacy "
        "deletion policy fields of DeletionStrategy",
        reason="is missing", advice="give both onSuccess and onFailure, or deletionRules"),
)  # fmt: skip

# The older form: one policy for each outcome


def _selected(part: Part) -> Values | None:
    policy = part.value.get("policy")
    return when(_job_of(part).value.get("clusterSelector") and policy in _INSIDE_CLUSTER, policy=policy)


def _workers_of_autoscaler(part: Part) -> Values | None:
    return when(part.value.get("policy") == "DeleteWorkers" and _autoscales(part))


def _keeps_all(outcome: Part) -> bool:
    return outcome.value.get("policy") == "DeleteNone"


def _none_and_needs_of_shutdown(outcome: Part) -> Values | None:
    key = _excluded(_job_of(outcome))
    advice = "leave suspend out" if key == "suspend" else "leave the ttl out, or use deletionRules"
    return when(_keeps_all(outcome) and key, key=key, instead=advice)


_POLICY_MISSING = _refused(
    find=lambda outcome: when(not outcome.has("policy")),
    field="{path}.policy",
    words="the DeletionPolicyType field of DeletionStrategy.On{shown} cannot be unset when DeletionStrategy is enabled",
    line=941,
    reason="is missing",
    advice=_USE_ONE,
)
_OUTCOME_SELECTED = _refused(
    find=_selected,
    field="{path}.policy",
    words="the ClusterSelector mode doesn't support DeletionStrategy={policy} on {outcome}",
    line=949,
    advice=_SELECTED_ADVICE,
)
_OUTCOME_WORKERS = _refused(
    find=_workers_of_autoscaler,
    field="{path}.policy",
    words="DeletionStrategy=DeleteWorkers currently does not support RayCluster with autoscaling enabled",
    line=958,
    reason="is DeleteWorkers while enableInTreeAutoscaling is true",
    advice=_WORKERS_ADVICE,
)
_OUTCOME_NONE: tuple[Rule, ...] = (
    _refused(find=lambda outcome: when(_keeps_all(outcome) and _job_of(outcome).switch("shutdownAfterJobFinishes")),
        field="{path}.policy", line=962, is_prefixed=True,
        words="shutdownAfterJobFinshes is set to 'true' while deletion policy is 'DeleteNone'",
        reason="is DeleteNone while spec.shutdownAfterJobFinishes is true", advice="leave that out"),
    _refused(find=_none_and_needs_of_shutdown, field="{path}.policy",
        reason="is DeleteNone while spec.{key} is set, which needs spec.shutdownAfterJobFinishes, which this "
        "excludes", advice="{instead}"),
)  # fmt: skip

# Deletion rules


def _given(rule: Part) -> list[str]:
    return [name for name in STATUSES if rule.has("condition", name)]


def _end_of(rule: Part) -> tuple[str, str] | None:
    """The end that a rule is for, as its kind and its value; None if that is not known."""
    given = _given(rule)
    found = rule.text("condition", given[0]) if given else None
    return (_SHOWN[given[0]], found) if found else None


def _is_sound(rule: Part) -> bool:
    """Whether the operator compares a rule with others."""
    return not any(one.find(rule) for one in (*_CONDITION, *_RULE_POLICY))


def _earlier_twin(rule: Part) -> Values | None:
    end, policy = _end_of(rule), rule.text("policy")
    if end is None or not policy or not _is_sound(rule):
        return None
    number = int(str(rule.values["number"]))
    before = list(_rules_of(_job_of(rule)))[:number]
    twins = [one for one in before if _is_sound(one) and (_end_of(one), one.text("policy")) == (end, policy)]
    return when(twins, policy=policy, shown=end[0], status=end[1])


def _seconds(job: Part) -> dict[tuple[str, str], dict[str, int]]:
    """After how many seconds each policy follows each end, as the first sound rule says."""
    seconds: dict[tuple[str, str], dict[str, int]] = {}
    for rule in _rules_of(job):
        end, policy = _end_of(rule), rule.text("policy")
        if end is not None and policy and _is_sound(rule):
            seconds.setdefault(end, {}).setdefault(policy, rule.number("condition", "ttlSeconds") or 0)
    return seconds


def _orders_of(job: Part) -> Iterator[Part]:
    """One part for each two policies that follow the same end, as the operator compares them."""
    found = _seconds(job)
    for strategy in _strategy_of(job):
        for shown in _SHOWN.values():
            for (kind, status), by_policy in found.items():
                if kind == shown:
                    policies = [(policy, by_policy[policy]) for policy in _ORDER if policy in by_policy]
                    for (less, earlier), (more, later) in pairwise(policies):
                        pair = {"less": less, "earlier": earlier, "more": more, "later": later}
                        yield strategy.inside({}, "deletionRules", shown=shown, status=status, **pair)


def _comes_too_late(pair: Part) -> Values | None:
    return when(int(str(pair.values["later"])) < int(str(pair.values["earlier"])))


def _negative_seconds(rule: Part) -> Values | None:
    seconds = rule.number("condition", "ttlSeconds")
    return when((seconds or 0) < 0, seconds=seconds)


_CONDITION: tuple[Rule, ...] = (
    _refused_since_1_6(find=lambda rule: when(len(_given(rule)) > 1), field="{path}.condition", line=876,
        words="deletionRules[{number}]: cannot set both JobStatus and JobDeploymentStatus at the same time",
        reason="has both jobStatus and jobDeploymentStatus", advice="give exactly one"),
    _refused_since_1_6(find=lambda rule: when(not _given(rule)), field="{path}.condition", line=879,
        words="deletionRules[{number}]: exactly one of JobStatus and JobDeploymentStatus must be set",
        reason="has no jobStatus or jobDeploymentStatus", advice="give exactly one"),
    _refused(find=_negative_seconds, field="{path}.condition.ttlSeconds", line=884,
        words="deletionRules[{number}]: TTLSeconds must be non-negative",
        reason="is {seconds}", advice="give 0 or more seconds"),
)  # fmt: skip
_RULE_POLICY: tuple[Rule, ...] = (
    _refused(find=_selected, field="{path}.policy", line=816,
        words="deletionRules[{number}]: DeletionPolicyType '{policy}' not supported when ClusterSelector is set",
        advice=_SELECTED_ADVICE),
    _refused(find=_workers_of_autoscaler, field="{path}.policy", line=821,
        words="deletionRules[{number}]: DeletionPolicyType 'DeleteWorkers' not supported with autoscaling enabled",
        reason="is DeleteWorkers while enableInTreeAutoscaling is true", advice=_WORKERS_ADVICE),
)  # fmt: skip
_RULE: tuple[Rule, ...] = (
    _refused(find=lambda rule: when(not rule.has("policy")), field="{path}.policy",
        reason="is missing", advice=_USE_ONE),
    *_CONDITION,
    *_RULE_POLICY,
    _refused(find=_earlier_twin, field="{path}", line=833,
        words="deletionRules[{number}]: duplicate rule for DeletionPolicyType '{policy}' and {shown} '{status}'",
        reason="repeats the rule for {policy} and {status}", advice="keep one of them"),
)  # fmt: skip
_RULE_ORDER = _refused(
    find=_comes_too_late,
    field="{path}",
    words="for {shown} '{status}': {more} TTL ({later}) must be >= {less} TTL ({earlier})",
    line=913,
    reason="lets {less} after {status} come at {earlier} s, later than {more} at {later} s",
    advice="give {less} the smaller ttlSeconds",
)

STRATEGY_RULES: tuple[Section, ...] = (
    (_strategy_of, _STRATEGY),
    (_outcomes_of, (_POLICY_MISSING,)),
    (_outcomes_of, (_OUTCOME_SELECTED,)),
    (_outcomes_of, (_OUTCOME_WORKERS,)),
    (_outcomes_of, _OUTCOME_NONE),
)
DELETION_RULES: tuple[Section, ...] = ((_rules_of, _RULE), (_orders_of, (_RULE_ORDER,)))
"""Rules of which the operator tells all that are broken, one for each item; the others end at the first."""

# KubeRay 1.3 and 1.4


def _policy_with_selector(job: Part) -> Values | None:
    policy = job.value.get("deletionPolicy")
    return when(job.value.get("clusterSelector") and policy in _INSIDE_CLUSTER, policy=policy)


def _kept_with_shutdown(job: Part) -> Values | None:
    return when(job.value.get("deletionPolicy") == "DeleteNone" and job.switch("shutdownAfterJobFinishes"))


_POLICY = "{path}.deletionPolicy"
POLICY_RULES: tuple[Section, ...] = (
    (
        itself,
        (
            _refused_before(find=lambda job: when(job.has("deletionPolicy") and not job.operator.on(_GATE)),
                field=_POLICY, line=191,
                words=f"{_GATE} feature gate must be enabled to use the DeletionPolicy feature",
                advice=f"turn the operator's feature gate {_GATE} on, or use shutdownAfterJobFinishes"),
            _refused_before(find=_policy_with_selector, field=_POLICY, line=199,
                words="the ClusterSelector mode doesn't support DeletionPolicy={policy}",
                advice=_SELECTED_ADVICE),
            _refused_before(find=lambda job: when(job.text("deletionPolicy") == "DeleteWorkers" and _autoscales(job)),
                field=_POLICY, line=207,
                words="DeletionPolicy=DeleteWorkers currently does not support RayCluster with autoscaling enabled",
                advice=_WORKERS_ADVICE),
            _refused_before(find=_kept_with_shutdown, field=_POLICY, line=211,
                words="shutdownAfterJobFinshes is set to 'true' while deletion policy is 'DeleteNone'",
                advice="leave shutdownAfterJobFinishes out"),
        ),
    ),
)  # fmt: skip
