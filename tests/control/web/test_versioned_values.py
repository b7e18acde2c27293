"""Every reader is given what it has not had, the newest first and last."""

import json

from streamcam.control.web.versioned_values import VersionedValues


def test_a_reader_is_given_only_what_is_newer_than_what_it_had() -> None:
    values = VersionedValues("values")
    assert values.update({"a": 1, "b": 2})
    first = values.version
    assert not values.update({"a": 1})
    assert values.update({"a": 3})
    assert values.update({"a": 4, "c": None})
    assert values.since(first) == {"a": 4, "c": None}
    assert values.since(0) == {"a": 4, "b": 2, "c": None}
    assert values.since(values.version) == {}


def test_a_message_is_encoded_once_for_all_readers_of_the_same_version() -> None:
    values = VersionedValues("live")
    values.update({"a": 1})
    text = values.text_since(0)
    assert values.text_since(0) is text
    assert json.loads(text) == {"type": "live", "values": {"a": 1}}
    values.update({"a": 2})
    assert json.loads(values.text_since(0))["values"] == {"a": 2}
