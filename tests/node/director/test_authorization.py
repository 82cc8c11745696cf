"""The table of who may call what on the director's service, row by row."""

from __future__ import annotations

import pytest
from google.protobuf import symbol_database
from openfl.protocols import director_pb2

from superb_node.certificates import ENVOY, USER
from superb_node.director.authorization import RULES, AccessRules, Caller, PermissionDenied, caller_of

METHODS = director_pb2.DESCRIPTOR.services_by_name["Director"].methods
UNUSED = {"GetTrainedModel", "GetExperimentDescription"}
OWN = Caller("env_one", ENVOY)
SCIENTIST = Caller("notebook", USER)


def request(method: str, **fields: object) -> object:
    """Return the method's own request message."""
    message = symbol_database.Default().GetSymbol(
        next(each for each in METHODS if each.name == method).input_type.full_name
    )
    return message(**fields)


def denied(method: str, caller: Caller, asked: object = None, rules: AccessRules | None = None) -> str:
    """Return why a caller may not call a method, or not with that request; empty if it may."""
    rules = rules or AccessRules()
    try:
        if asked is None:
            rules.authorize(method, caller)
        else:
            rules.authorize_request(method, caller, asked)
    except PermissionDenied as reason:
        return str(reason)
    return ""


def shard_of(name: str) -> object:
    return request("UpdateShardInfo", shard_info={"node_info": {"name": name}})


def test_every_method_that_is_used_has_a_rule() -> None:
    """A method that OpenFL adds is refused until somebody decides who may call it."""
    assert {method.name for method in METHODS} - set(RULES) == UNUSED
    for role in (ENVOY, USER, "director", "authority", ""):
        for method in ("DeleteEverything", *UNUSED):
            assert denied(method, Caller("x", role)) == f"{method} is for nobody"


@pytest.mark.parametrize("method", sorted(RULES))
def test_every_rule_fits_its_request(method: str) -> None:
    """Fields that a rule looks at exist: an empty request is accepted or refused, and raises nothing else."""
    for role in RULES[method]:
        assert isinstance(denied(method, Caller("env_one", role), request(method)), str)


@pytest.mark.parametrize("method", sorted(RULES))
@pytest.mark.parametrize("role", ["director", "authority", "Envoy", ""])
def test_other_roles_may_call_nothing(method: str, role: str) -> None:
    assert f"{method} is for " in denied(method, Caller("env_one", role))


def test_who_may_call_what() -> None:
    for_envoys = {"UpdateShardInfo", "UpdateEnvoyStatus", "WaitExperiment"}
    for_both = {"GetExperimentData", "SetExperimentFailed"}
    assert {method for method, rule in RULES.items() if set(rule) == {ENVOY}} == for_envoys
    assert {method for method, rule in RULES.items() if set(rule) == {ENVOY, USER}} == for_both
    assert {method for method, rule in RULES.items() if set(rule) == {USER}} == (
        {method.name for method in METHODS} - for_envoys - for_both - UNUSED
    )


@pytest.mark.parametrize(
    ("method", "own", "other"),
    [
        ("UpdateShardInfo", shard_of("env_one"), shard_of("env_two")),
        ("UpdateEnvoyStatus", {"name": "env_one"}, {"name": "env_two"}),
        ("WaitExperiment", {"collaborator_name": "env_one"}, {"collaborator_name": ""}),
        ("GetExperimentData", {"collaborator_name": "env_one"}, {"collaborator_name": "env_two"}),
        (
            "SetExperimentFailed",
            {"collaborator_name": "env_one", "error_code": 1},
            {"collaborator_name": "env_two", "error_code": 1},
        ),
    ],
)
def test_an_envoy_speaks_for_itself_alone(method: str, own: object, other: object) -> None:
    mine, anothers = (request(method, **each) if isinstance(each, dict) else each for each in (own, other))
    assert denied(method, OWN, mine) == ""
    assert "it calls itself" in denied(method, OWN, anothers)


def test_stopping_is_for_users_and_failing_for_envoys() -> None:
    stop = request("SetExperimentFailed", collaborator_name="env_one", error_code=0)
    failure = request("SetExperimentFailed", collaborator_name="env_one", error_code=1)
    assert denied("SetExperimentFailed", OWN, stop) == ("only its user may stop an experiment")
    assert denied("SetExperimentFailed", SCIENTIST, stop) == ""
    named_like_an_envoy = Caller("env_one", USER)
    assert denied("SetExperimentFailed", named_like_an_envoy, failure) == ("only envoys report failures")


def test_a_user_fetches_models_and_no_experiment() -> None:
    for which in ("model/best", "model/last"):
        wanted = request("GetExperimentData", collaborator_name=which)
        assert denied("GetExperimentData", SCIENTIST, wanted) == ""
    text = request("GetExperimentData", collaborator_name="notebook")
    assert denied("GetExperimentData", SCIENTIST, text) == ("only envoys fetch an experiment")


def test_an_envoy_fetches_archives_and_no_model() -> None:
    wanted = request("GetExperimentData", collaborator_name="model/best")
    assert denied("GetExperimentData", OWN, wanted) == "only users fetch a model"


def test_the_list_of_envoys() -> None:
    listed = AccessRules(["env_one"])
    other, not_listed = Caller("env_two", ENVOY), "it is not on the director's list of envoys"
    for method, rule in RULES.items():
        if ENVOY in rule:
            assert denied(method, OWN, rules=listed) == ""
            assert denied(method, other, rules=listed) == not_listed
    assert denied("GetEnvoys", SCIENTIST, rules=listed) == ""
    with pytest.raises(PermissionDenied, match=not_listed):
        listed.authorize_name("env_two")
    assert denied("WaitExperiment", OWN, rules=AccessRules([])), "an empty list is for nobody"
    AccessRules().authorize_name("anybody")


def test_whose_certificate_it_is() -> None:
    def peer(name: str, *ids: str) -> dict[str, list[bytes]]:
        return {"x509_common_name": [name.encode()], "peer_spiffe_id": [each.encode() for each in ids]}

    assert caller_of(peer("env_one", "spiffe://superb-ks/envoy/env_one")) == OWN
    assert str(OWN) == "envoy 'env_one'"
    illegal = [
        peer("env_one"),
        peer("env_one", "spiffe://superb-ks/envoy/env_two"),
        peer("env_one", "spiffe://elsewhere/envoy/env_one"),
        peer("env_one", "envoy/env_one"),
        peer("env_one", "spiffe://superb-ks//env_one"),
        peer("env_one", "spiffe://superb-ks/envoy/env_one", "spiffe://superb-ks/user/env_one"),
    ]
    for each in illegal:
        with pytest.raises(PermissionDenied, match="spiffe://superb-ks/ROLE/env_one is legal"):
            caller_of(each)
    with pytest.raises(PermissionDenied, match="no certificate"):
        caller_of({"transport_security_type": [b"insecure"]})
