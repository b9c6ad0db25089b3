"""What tests of the page in a real browser share."""

from collections.abc import Callable
from typing import Any

Visit = Callable[..., Any]


def asked(page: Any) -> str:
    """The word in question, without its number."""
    text: str = page.locator(".word.asked").evaluate("word => word.firstChild.textContent")
    return text


def written(page: Any) -> str:
    """The sentence without its numbers."""
    text: str = page.locator(".sentence").evaluate(
        "sentence => [...sentence.children].map(part => part.firstChild.textContent).join('')"
    )
    return text


def until(page: Any, condition: str | Callable[[], Any]) -> None:
    """Waits for a condition, of the page if it is JavaScript."""
    for _ in range(2400):  # the page's policy forbids waiting inside it by a condition that is text
        if page.evaluate(condition) if isinstance(condition, str) else condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def hold(page: Any, pattern: str) -> list[Any]:
    """The requests to `pattern`, which from now on wait."""
    held: list[Any] = []

    def keep(route: Any) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held
