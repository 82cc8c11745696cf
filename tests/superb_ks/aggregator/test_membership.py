"""Who takes part: present, away and back, or gone."""

import math

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


def test_who_is_left_behind_at_work_stops_until_it_is_invited_again():
    members = Membership(["a", "b"])
    members.heard_from("a")
    members.leave("a")
    assert members.cut_off == {"a"}
    members.invited("a")
    assert members.cut_off == set()
    members.leave("b")
    assert members.cut_off == set(), "b has not begun: it waits for its owner"


def test_who_asks_again_by_itself_need_not_stop():
    members = Membership(["a", "b"])
    members.heard_from("a")
    members.leave("a")
    members.heard_from("a")
    assert members.cut_off == set()
    assert members.start_round() == ["a"]


def test_who_is_always_too_slow_comes_back_ever_more_rarely():
    members, rounds = Membership(["a", "b"]), []
    for number in range(16):
        if "a" in members.present:
            rounds.append(number)
            members.heard_from("a")
            members.leave("a")
            members.invited("a")
            members.heard_from("a")
        members.start_round()
    assert rounds == [0, 1, 3, 7, 15]


def test_who_is_away_is_not_left_behind_again():
    """The director drops who is silent each second, for as long as the silence lasts."""
    members = Membership(["a", "b"])
    members.heard_from("a")
    assert [members.leave("a") for _ in range(5)] == [True, *[False] * 4]
    members.invited("a")
    members.heard_from("a")
    assert members.start_round() == ["a"]


def test_one_round_in_time_and_it_begins_anew():
    members = Membership(["a", "b"])
    for _ in range(2):
        members.heard_from("a")
        members.leave("a")
        members.heard_from("a")
        members.start_round()
    assert members.present == {"b"}, "it sits out a round"
    assert members.start_round() == ["a"]
    members.start_round()  # it completed one
    members.leave("a")
    members.heard_from("a")
    assert members.start_round() == ["a"]


def test_it_is_known_who_was_heard_of_lately():
    members = Membership(["a", "b"])
    members.heard_from("a")
    assert 0 <= members.seconds_since_heard("a") < 5
    assert members.seconds_since_heard("b") == math.inf


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
