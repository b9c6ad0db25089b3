"""Documents translated by somebody who writes all words in capitals, and now and then loses what should be kept."""

from collections.abc import Sequence

import pytest

from limelight.errors import FileError
from limelight.tasks.documents import KEPT, translated


def loud(sentences: Sequence[str]) -> list[str]:
    """Letters alone: what is kept comes back changed where it has any."""
    return [sentence.upper() for sentence in sentences]


def careful(sentences: Sequence[str]) -> list[str]:
    """All but what is kept."""
    found = []
    for sentence in sentences:
        kept, at = "", 0
        for match in KEPT.finditer(sentence):
            kept += sentence[at : match.start()].upper() + match[0]
            at = match.end()
        found.append(kept + sentence[at:].upper())
    return found


@pytest.mark.parametrize("say", [loud, careful], ids=["loses", "keeps"])
@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (".txt", "One. Two here.\n\n\nThree\n  four\n", "ONE. TWO HERE.\n\n\nTHREE\n  FOUR\n"),
        (
            ".txt",
            "Hi {name}, see https://a.b/c?d=e now: %(n)d of %s.\n",
            "HI {name}, SEE https://a.b/c?d=e NOW: %(n)d OF %s.\n",
        ),
        (".txt", "<b>bold</b> &amp; so\n12 - 34\n", "<b>BOLD</b> &amp; SO\n12 - 34\n"),
        (
            ".md",
            "# A title\n\n- [ ] do *this*\n- see [the page](a/b.md)\n",
            "# A TITLE\n\n- [ ] DO *THIS*\n- SEE [THE PAGE](a/b.md)\n",
        ),
        (
            ".md",
            "---\ntitle: x\n---\nrun `make all` **now**\n```\ncode\n```\nend\n",
            "---\ntitle: x\n---\nRUN `make all` **NOW**\n```\ncode\n```\nEND\n",
        ),
        (".md", "| a | b |\n|---|---|\n| c | `d` |\n", "| A | B |\n|---|---|\n| C | `d` |\n"),
        (".md", "> quoted\n\n    code\n\n1. one\n2. two\n", "> QUOTED\n\n    code\n\n1. ONE\n2. TWO\n"),
        (
            ".srt",
            "1\n00:00:01,000 --> 00:00:02,000\nHello there,\nyou.\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>Yes</i>\n",
            "1\n00:00:01,000 --> 00:00:02,000\nHELLO THERE, YOU.\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>YES</i>\n",
        ),
        (
            ".po",
            '#: a.c:1\nmsgid "Open %s"\nmsgstr ""\n\nmsgid "Quit"\nmsgstr "Ende"\n',
            '#: a.c:1\nmsgid "Open %s"\nmsgstr "OPEN %s"\n\nmsgid "Quit"\nmsgstr "Ende"\n',
        ),
        (
            ".po",
            'msgid ""\nmsgstr "Language: de\\n"\n\n'
            'msgid "one \\"x\\""\nmsgid_plural "many"\nmsgstr[0] ""\nmsgstr[1] ""\n',
            'msgid ""\nmsgstr "Language: de\\n"\n\n'
            'msgid "one \\"x\\""\nmsgid_plural "many"\nmsgstr[0] "ONE \\"X\\""\nmsgstr[1] "MANY"\n',
        ),
    ],
)
def test_what_is_said_is_translated_and_all_else_stays(say: object, kind: str, text: str, expected: str) -> None:
    assert translated(text, kind, say) == expected  # type: ignore[arg-type]


def test_wrapped_paragraphs_are_read_whole() -> None:
    line = "words that go on and on until the end of the line is"
    asked: list[str] = []
    translated(f"{line}\nreached.\n", ".txt", lambda sentences: asked.extend(sentences) or list(sentences))
    assert asked == [f"{line} reached."]


def test_a_line_that_is_none_of_a_catalogue_is_named() -> None:
    with pytest.raises(FileError, match=r"line 2: not a line of a \.po file"):
        translated('msgid "a"\nhello\n', ".po", loud)
