"""Instructions that a rule can check, without a judge (in the manner of IFEval, Zhou et al., 2023)."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from limelight.train.constraints import sentences, words


@dataclass(frozen=True)
class Instruction:
    """What is asked, and whether an answer does it. kind: what is to be heeded."""

    kind: str
    asks: str
    kept: Callable[[str], bool]


def bullets(text: str) -> int:
    """How many lines begin as items of a list."""
    return len(re.findall(r"^\s*(?:[-*•]|\d+[.)])\s+\S", text, re.MULTILINE))


def is_json(text: str, *names: str) -> bool:
    """Whether a text is a JSON object with these keys, also within a block of code."""
    block = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    try:
        value = json.loads(block[1] if block else text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(name in value for name in names)


def german(text: str) -> bool:
    """Whether a text is German, by its small words."""
    small = {"der", "die", "das", "und", "ist", "ein", "eine", "nicht", "ich", "es", "den", "zu", "mit", "sind", "hat"}
    english = {"the", "and", "is", "of", "to", "it", "are", "that"}
    found = words(text)
    return sum(word in small for word in found) > sum(word in english for word in found)


def repeats(asks: str, answer: str) -> bool:
    """Whether an answer says the whole question again, as base models do: what stands there because it was asked for
    shows nothing of heeding it."""
    return f" {' '.join(words(asks))} " in f" {' '.join(words(answer))} "


SUBJECTS = 3
"""Of each rule."""


_RULES: tuple[tuple[str, str, tuple[str, str, str], Callable[[str], bool]], ...] = (
    (
        "length",
        "Explain in at most 15 words {}.",
        ("why the sky is blue", "what a bridge is for", "how tea is made"),
        lambda a: 0 < len(words(a)) <= 15,
    ),
    (
        "length",
        "Describe {} in more than 30 words.",
        ("the sea", "a desert", "an old car"),
        lambda a: len(words(a)) > 30,
    ),
    (
        "sentences",
        "Say what {} is, in exactly one sentence.",
        ("a dog", "a violin", "friendship"),
        lambda a: sentences(a) == 1,
    ),
    (
        "sentences",
        "Write exactly two sentences about {}.",
        ("the moon", "coffee", "trains"),
        lambda a: sentences(a) == 2,
    ),
    (
        "words to use",
        "Write a sentence about {} that has the word lamp.",
        ("winter", "a ship", "my uncle"),
        lambda a: "lamp" in words(a),
    ),
    (
        "words to use",
        "Describe {}, using the words stone and river.",
        ("a garden", "a village", "a walk"),
        lambda a: {"stone", "river"} <= set(words(a)),
    ),
    (
        "words to avoid",
        "Describe {} without the word hot.",
        ("the sun", "a kitchen", "a summer day"),
        lambda a: bool(words(a)) and "hot" not in words(a),
    ),
    (
        "words to avoid",
        "Say what {} is. Do not use the words cold and white.",
        ("snow", "milk", "a polar bear"),
        lambda a: bool(words(a)) and not {"cold", "white"} & set(words(a)),
    ),
    (
        "JSON",
        'Name {} as JSON with the keys "name" and "country".',
        ("a city", "a mountain", "a writer"),
        lambda a: is_json(a, "name", "country"),
    ),
    (
        "JSON",
        'Answer with JSON alone: {}, under the key "answer".',
        ("an animal", "a colour", "the sum of 2 and 3"),
        lambda a: is_json(a, "answer"),
    ),
    (
        "lists",
        "Name three {} as a list with bullet points.",
        ("fruits", "rivers", "tools"),
        lambda a: bullets(a) == 3,
    ),
    ("lists", "Give a numbered list of four {}.", ("colours", "birds", "sports"), lambda a: bullets(a) == 4),
    (
        "small letters",
        "Say what {} is. Use small letters only.",
        ("a book", "a bank", "bread"),
        lambda a: bool(words(a)) and a == a.lower(),
    ),
    (
        "small letters",
        "write about {}, all in lower case.",
        ("rain", "london", "cats"),
        lambda a: bool(words(a)) and a == a.lower(),
    ),
    (
        "capitals",
        "{} in capital letters only.",
        ("Greet a friend", "Say what gold is", "Describe a lion"),
        lambda a: bool(words(a)) and a == a.upper(),
    ),
    (
        "capitals",
        "NAME {}. ANSWER IN CAPITALS.",
        ("A PLANET", "A TREE", "A SCHOOL SUBJECT"),
        lambda a: bool(words(a)) and a == a.upper(),
    ),
    (
        "beginning",
        'Tell me about {}. Begin your answer with the word "Listen".',
        ("tea", "Paris", "honesty"),
        lambda a: a.lstrip("\"'“ ").startswith("Listen"),
    ),
    (
        "end",
        'Give advice on {}. End with the words "Good night."',
        ("sleep", "cooking", "studying"),
        lambda a: a.rstrip("\"'” \n").rstrip(".!").endswith("Good night"),
    ),
    (
        "signs",
        "Describe {} without any comma.",
        ("a train", "a forest", "your day"),
        lambda a: bool(words(a)) and "," not in a,
    ),
    ("language", "Answer in German: what is {}?", ("water", "a house", "time"), german),
)

INSTRUCTIONS = tuple(
    Instruction(kind, asks.format(subject), kept) for kind, asks, subjects, kept in _RULES for subject in subjects
)
"""Twenty rules of twelve kinds, each with `SUBJECTS` subjects, one after another."""
