"""Instructions that a rule can check, without a judge (in the manner of IFEval, Zhou et al., 2023)."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """What is asked, and whether an answer does it. kind: what is to be heeded."""

    kind: str
    asks: str
    kept: Callable[[str], bool]


def words(text: str) -> list[str]:
    """The words of a text in small letters, without their signs."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def sentences(text: str) -> int:
    """How many sentences a text has, by their ends."""
    return len(re.findall(r"[^.!?\s][^.!?]*(?:[.!?]+(?=\s|$)|$)", text))


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


INSTRUCTIONS = (
    Instruction("length", "Explain in at most 15 words why the sky is blue.", lambda a: 0 < len(words(a)) <= 15),
    Instruction("length", "Describe the sea in more than 30 words.", lambda a: len(words(a)) > 30),
    Instruction("sentences", "Say what a dog is, in exactly one sentence.", lambda a: sentences(a) == 1),
    Instruction("sentences", "Write exactly two sentences about the moon.", lambda a: sentences(a) == 2),
    Instruction("words to use", "Write a sentence about winter that has the word lamp.", lambda a: "lamp" in words(a)),
    Instruction(
        "words to use",
        "Describe a garden, using the words stone and river.",
        lambda a: {"stone", "river"} <= set(words(a)),
    ),
    Instruction(
        "words to avoid", "Describe the sun without the word hot.", lambda a: bool(words(a)) and "hot" not in words(a)
    ),
    Instruction(
        "words to avoid",
        "Say what snow is. Do not use the words cold and white.",
        lambda a: bool(words(a)) and not {"cold", "white"} & set(words(a)),
    ),
    Instruction(
        "JSON", 'Name a city as JSON with the keys "name" and "country".', lambda a: is_json(a, "name", "country")
    ),
    Instruction("JSON", 'Answer with JSON alone: an animal, under the key "animal".', lambda a: is_json(a, "animal")),
    Instruction("lists", "Name three fruits as a list with bullet points.", lambda a: bullets(a) == 3),
    Instruction("lists", "Give a numbered list of four colours.", lambda a: bullets(a) == 4),
    Instruction(
        "small letters", "Say what a book is. Use small letters only.", lambda a: bool(words(a)) and a == a.lower()
    ),
    Instruction("small letters", "write about rain, all in lower case.", lambda a: bool(words(a)) and a == a.lower()),
    Instruction("capitals", "Greet a friend in capital letters only.", lambda a: bool(words(a)) and a == a.upper()),
    Instruction("capitals", "NAME A PLANET. ANSWER IN CAPITALS.", lambda a: bool(words(a)) and a == a.upper()),
    Instruction(
        "beginning",
        'Tell me about tea. Begin your answer with the word "Listen".',
        lambda a: a.lstrip("\"'“ ").startswith("Listen"),
    ),
    Instruction(
        "end",
        'Give advice on sleep. End with the words "Good night."',
        lambda a: a.rstrip("\"'” \n").rstrip(".!").endswith("Good night"),
    ),
    Instruction("signs", "Describe a train without any comma.", lambda a: bool(words(a)) and "," not in a),
    Instruction("language", "Answer in German: what is water?", german),
)
"""Twelve kinds."""
