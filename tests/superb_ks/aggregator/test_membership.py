"""Who takes part: present, away and back, or gone."""

from hypothesis import given
from hypothesis import strategies as st

from superb_ks.aggregator.membership import Membership


def test_who_leaves_is_back_from_the_next_round_on():
    members = Membership(["b", "a"], at_least=1)
    assert members.leave("a")
    assert members.present == {"b"}
    members.heard_from("a")
    assert members.present == {"b"}, "not in the middle of a round"
    assert members.start_round() == ["a"]
    assert members.present == {"a", "b"}
    assert members.start_round() == []


def test_who_is_gone_stays_gone():
    members = Membership(["a", "b"])
    members.leave("a", for_good=True)
    members.heard_from("a")
    assert members.start_round() == []
    assert not members.leave("a"), "it was not present"


def test_strangers_are_not_taken_in():
    members = Membership(["a"])
    members.heard_from("stranger")
    assert members.start_round() == []


def test_enough():
    members = Membership(["a", "b"], at_least=2)
    assert members.enough
    members.leave("b")
    assert not members.enough


STEPS = st.tuples(st.sampled_from(["leave", "gone", "heard", "round"]), st.sampled_from("abc"))


@given(st.lists(STEPS, max_size=30))
def test_nobody_is_present_who_failed_or_was_never_enrolled(steps):
    members, gone = Membership("abc"), set()
    for step, name in steps:
        if step == "gone":
            gone.add(name)
        if step == "round":
            members.start_round()
        elif step == "heard":
            members.heard_from(name)
        else:
            members.leave(name, for_good=step == "gone")
        assert members.present <= set("abc") - gone
