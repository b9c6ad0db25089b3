"""JSON and events as the API sends them, byte for byte."""

from limelight.serve.api.answers import encoded, event
from limelight.serve.api.responses import _call, _message, _usage


def test_json_has_no_spaces_and_characters_as_they_are() -> None:
    assert encoded({"a": [1, None], "é": "€\n"}) == '{"a":[1,null],"é":"€\\n"}'.encode()
    assert encoded("a\ud800b") == b'"a?b"'  # half a character


def test_events_have_a_name_where_they_are_given_one() -> None:
    assert event({"a": 1}) == b'data: {"a":1}\n\n'
    assert event({"a": 1}, "b") == b'event: b\ndata: {"a":1}\n\n'


def test_what_a_response_is_made_of() -> None:
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": []}
    for finish, status in (("length", "incomplete"), ("stop", "completed"), ("tool_calls", "completed")):
        expected = {"id": "i", "type": "message", "role": "assistant", "status": status, "content": [part]}
        assert _message("i", "a", finish) == expected
    assert _call("i", {"id": "c", "function": {"name": "f"}}, "{}") == {
        "id": "i",
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }
    took = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    assert _usage({**took, "prompt_tokens_details": {"cached_tokens": 2}}) == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 7},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }
