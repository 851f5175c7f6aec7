"""protocol/from_client.py: one tag for each message."""

from typing import get_args

from msgspec.structs import fields

from protocol.from_client import ClientMessage


def test_every_message_has_its_own_type() -> None:
    """The tag is what the spec calls `type`."""
    tags = [kind.__struct_config__.tag for kind in get_args(ClientMessage)]
    assert len(set(tags)) == len(tags)
    assert all(kind.__struct_config__.tag_field == "type" for kind in get_args(ClientMessage))


def test_only_what_is_frequent_may_go_without_an_answer() -> None:
    """Everything else needs an `id`, because somebody waits for its answer."""
    without = {
        kind.__struct_config__.tag
        for kind in get_args(ClientMessage)
        if not next(field for field in fields(kind) if field.name == "id").required
    }
    assert without == {
        "receipt",
        "typing",
        "call.ringing",
        "call.signal",
        "call.media",
        "call.state",
        "call.stats",
        "presence.set",
        "client_state",
    }


def test_unknown_fields_are_not_forbidden() -> None:
    """The versioning rule of the spec."""
    assert not any(kind.__struct_config__.forbid_unknown_fields for kind in get_args(ClientMessage))
