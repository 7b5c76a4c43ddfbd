"""The few messages of Pub/Sub's protocol that every publish and pull needs. Pure: no I/O.

They are built here by number and type, as Google's ``pubsub.proto`` and ``iam_policy.proto`` give
them, and read and written by protobuf's C code. Google's own classes for Python wrap these in
layers that cost more than the call, and 40 MB; they are for what is done once
(``pubsub_connect.Clients``). tests/unit/queue/test_pubsub_messages.py holds both together.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "sluice.pubsub"
_Field = descriptor_pb2.FieldDescriptorProto
_TEXT: Final = _Field.TYPE_STRING
_BYTES: Final = _Field.TYPE_BYTES
_INT32: Final = _Field.TYPE_INT32
_INT64: Final = _Field.TYPE_INT64

_SHAPES: Final[dict[str, dict[str, tuple[int, int | str, bool]]]] = {
    # Each field: its number, its type or message, and whether there may be many.
    "Timestamp": {"seconds": (1, _INT64, False), "nanos": (2, _INT32, False)},
    "PubsubMessage": {
        "data": (1, _BYTES, False),
        "attributes": (2, "PubsubMessage.AttributesEntry", True),
        "message_id": (3, _TEXT, False),
        "publish_time": (4, "Timestamp", False),
    },
    "ReceivedMessage": {
        "ack_id": (1, _TEXT, False),
        "message": (2, "PubsubMessage", False),
        "delivery_attempt": (3, _INT32, False),
    },
    "PublishRequest": {"topic": (1, _TEXT, False), "messages": (2, "PubsubMessage", True)},
    "PullRequest": {"subscription": (1, _TEXT, False), "max_messages": (3, _INT32, False)},
    "PullResponse": {"received_messages": (1, "ReceivedMessage", True)},
    "AcknowledgeRequest": {"subscription": (1, _TEXT, False), "ack_ids": (2, _TEXT, True)},
    "ModifyAckDeadlineRequest": {
        "subscription": (1, _TEXT, False),
        "ack_deadline_seconds": (3, _INT32, False),
        "ack_ids": (4, _TEXT, True),
    },
    "GetTopicRequest": {"topic": (1, _TEXT, False)},
    "GetSubscriptionRequest": {"subscription": (1, _TEXT, False)},
    "TestIamPermissionsRequest": {"resource": (1, _TEXT, False), "permissions": (2, _TEXT, True)},
    "TestIamPermissionsResponse": {"permissions": (1, _TEXT, True)},
}


def _add_field(message: Any, name: str, number: int, kind: int | str, *, many: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind


def _make() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="sluice/pubsub.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in _SHAPES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind, many) in fields.items():
            _add_field(message, name, number, kind, many=many)
        if message_name == "PubsubMessage":  # what a map is made of
            entry = message.nested_type.add(name="AttributesEntry")
            entry.options.map_entry = True
            _add_field(entry, "key", 1, _TEXT, many=False)
            _add_field(entry, "value", 2, _TEXT, many=False)
    pool = descriptor_pool.DescriptorPool()  # of our own: Google's classes have the common one
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _SHAPES
    }


MESSAGES: Final = _make()
"""All messages by their names."""

PubsubMessage: Final[Any] = MESSAGES["PubsubMessage"]
ReceivedMessage: Final[Any] = MESSAGES["ReceivedMessage"]
PublishRequest: Final[Any] = MESSAGES["PublishRequest"]
PullRequest: Final[Any] = MESSAGES["PullRequest"]
PullResponse: Final[Any] = MESSAGES["PullResponse"]
AcknowledgeRequest: Final[Any] = MESSAGES["AcknowledgeRequest"]
ModifyAckDeadlineRequest: Final[Any] = MESSAGES["ModifyAckDeadlineRequest"]
GetTopicRequest: Final[Any] = MESSAGES["GetTopicRequest"]
GetSubscriptionRequest: Final[Any] = MESSAGES["GetSubscriptionRequest"]
TestIamPermissionsRequest: Final[Any] = MESSAGES["TestIamPermissionsRequest"]
TestIamPermissionsResponse: Final[Any] = MESSAGES["TestIamPermissionsResponse"]
