"""The bricks of a page that stands alone: marked-up text that nothing slips into, tables, and the style.

Texts are escaped wherever they become part of an element, so that the name of a file can hold anything.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from megactor_core.pages.style import STYLE
from megactor_core.version import megactor_version

Attributes = Mapping[str, str | int]
_VOID: Final = frozenset({"img", "meta", "line", "path", "circle", "rect", "polyline"})
_MOST_CHARACTERS: Final = 400
"""Of one text: a message may hold a path of any length."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


class Page:
    """Sections one after the other, their list at the top; `made_by` is the command that wrote it."""

    def __init__(self, title: str, *, made_by: str) -> None:
        self._title = title
        self._made_by = made_by
        self._head: list[Markup] = []
        self._sections: list[tuple[str, Markup]] = []

    def head(self, *parts: str) -> None:
        """What stands under the title."""
        self._head += [joined(parts)]

    def section(self, title: str, *parts: str) -> None:
        self._sections.append((title, joined(parts)))

    def html(self) -> str:
        """The whole page. It names no address, needs no script, and holds neither time nor place."""
        links = [tag("a", {"href": f"#s{k}"}, title) for k, (title, _) in enumerate(self._sections)]
        sections = [
            tag("section", {"id": f"s{number}"}, tag("h2", {}, title), body)
            for number, (title, body) in enumerate(self._sections)
        ]
        meta = (
            tag("meta", {"charset": "utf-8"}),
            tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            tag("meta", {"name": "color-scheme", "content": "light dark"}),
            tag("meta", {"name": "generator", "content": f"{self._made_by} {megactor_version()}"}),
        )
        head = tag("head", {}, *meta, tag("title", {}, self._title), tag("style", {}, Markup(STYLE)))
        top = tag("header", {}, tag("h1", {}, self._title), *self._head)
        body = tag("body", {}, tag("main", {}, top, tag("nav", {}, *links), *sections))
        return f"<!DOCTYPE html>\n{tag('html', {'lang': 'en'}, head, body)}\n"


def tag(name: str, attributes: Attributes, *children: str) -> Markup:
    """An element; children that are no markup are escaped."""
    given = "".join(f' {key}="{escaped(str(value))}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{given}>" if name in {"img", "meta"} else f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Markup and texts, these escaped, one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def text(value: str) -> Markup:
    """A text as HTML, its middle left out where it is very long."""
    if len(value) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        value = f"{value[:half]} ... {value[-half:]}"
    return Markup(escaped(value))


def escaped(value: str) -> str:
    """Bytes that are no text, and characters that do not show or turn the line about, as escapes."""
    if value.isprintable():
        return escape(value)
    readable = value.encode("utf-8", "backslashreplace").decode("utf-8")
    seen = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in readable)
    return escape("".join(seen))


def small(*parts: str) -> Markup:
    """A line below the number of a cell."""
    return tag("small", {}, *parts)


def paragraph(*parts: str, of: str = "") -> Markup:
    return tag("p", _class(of), *parts)


def note(*parts: str) -> Markup:
    """Small print."""
    return paragraph(*parts, of="note")


def bullets(items: Iterable[str], *, most: int) -> Markup:
    """A list of at most so many items, and how many more there are."""
    known = list(items)
    shown = [tag("li", {}, item) for item in known[:most]]
    if len(known) > most:
        shown.append(tag("li", {"class": "note"}, f"and {len(known) - most} more"))
    return tag("ul", {}, *shown)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: frozenset[int] = frozenset()
) -> Markup:
    """A table; cells of the columns `numbers` are set to the right. It scrolls where it is too wide."""

    def line(cells: Sequence[str], kind: str) -> Markup:
        return tag(
            "tr", {}, *(tag(kind, _class("num" if k in numbers else ""), c) for k, c in enumerate(cells))
        )

    head = tag("thead", {}, line(columns, "th"))
    return tag(
        "div", {"class": "scroll"}, tag("table", {}, head, tag("tbody", {}, *(line(r, "td") for r in rows)))
    )


def facts(values: Mapping[str, str]) -> Markup:
    """Names and what they are."""
    parts = (part for key, value in values.items() for part in (tag("dt", {}, key), tag("dd", {}, value)))
    return tag("dl", {}, *parts)


def jpeg(coded: bytes, *, shows: str, of: str = "") -> Markup:
    """A picture within the page; `shows` is for those who cannot see it."""
    source = f"data:image/jpeg;base64,{base64.b64encode(coded).decode()}"
    # Written here and not by `tag`, which would escape every character of a long harmless text.
    kind = f' class="{of}"' if of else ""
    return Markup(f'<img{kind} alt="{escaped(shows)}" src="{source}">')


def number(value: float) -> str:
    """Four or five digits, without an exponent where that is readable."""
    return f"{value:.5g}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 in hundredths."""
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Hours from 3600 seconds on, minutes from 60 on, seconds."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def interval(ends: tuple[float, float] | None) -> str:
    """The ends of an interval; a dash for none."""
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def _class(of: str) -> Attributes:
    return {"class": of} if of else {}
