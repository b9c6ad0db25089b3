"""Tokens and their log-probabilities in the three shapes that clients know, worked out by hand."""

from limelight.serve.api.logprobs import legacy, modern, prompt_told
from limelight.serve.choice import Told

FIRST = Told(7, "a", None, (), 0)
LIKELY = Told(8, "b", -0.5, ((8, "b", -0.5), (9, "c", -1.5)), 1, 1)
RARE = Told(6, "d", -4.0, ((8, "b", -0.25), (5, "b", -2.0)), 2, 17)  # two tokens that are spelled alike
UNRANKED = Told(6, "d", -4.0, ((8, "b", -0.25),), 2)


def test_the_old_shape_has_a_list_for_each_thing() -> None:
    assert legacy([FIRST, LIKELY, RARE], 10) == {
        "tokens": ["a", "b", "d"],
        "token_logprobs": [None, -0.5, -4.0],
        "top_logprobs": [None, {"b": -0.5, "c": -1.5}, {"b": -0.25, "d": -4.0}],
        "text_offset": [10, 11, 12],
    }
    assert legacy([LIKELY])["text_offset"] == [1]
    assert legacy([]) == {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def test_the_new_shape_has_an_object_for_each_token() -> None:
    def raw(id: int) -> bytes:
        return bytes([id, 255])

    assert modern([LIKELY, Told(6, "d", -4.0, (), 2)], raw) == {
        "content": [
            {
                "token": "b",
                "logprob": -0.5,
                "bytes": [8, 255],
                "top_logprobs": [
                    {"token": "b", "logprob": -0.5, "bytes": [8, 255]},
                    {"token": "c", "logprob": -1.5, "bytes": [9, 255]},
                ],
            },
            {"token": "d", "logprob": -4.0, "bytes": [6, 255], "top_logprobs": []},
        ],
        "refusal": None,
    }


def test_the_tokens_of_a_prompt_are_told_by_id_with_their_rank() -> None:
    assert prompt_told([FIRST, LIKELY, RARE, UNRANKED]) == [
        None,
        {
            "8": {"logprob": -0.5, "rank": 1, "decoded_token": "b"},
            "9": {"logprob": -1.5, "rank": 2, "decoded_token": "c"},
        },
        {
            "8": {"logprob": -0.25, "rank": 1, "decoded_token": "b"},
            "5": {"logprob": -2.0, "rank": 2, "decoded_token": "b"},
            "6": {"logprob": -4.0, "rank": 17, "decoded_token": "d"},
        },
        {
            "8": {"logprob": -0.25, "rank": 1, "decoded_token": "b"},
            "6": {"logprob": -4.0, "rank": 0, "decoded_token": "d"},
        },
    ]
    assert prompt_told([FIRST, RARE])[1] == prompt_told([RARE])[0]
