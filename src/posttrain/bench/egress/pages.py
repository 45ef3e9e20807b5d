"""Pages that a site's author can write: ordinary ones, and the same with a sentence hidden on one surface."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from html import escape
from typing import Literal

Surface = Literal[
    "body",
    "title",
    "description",
    "og:title",
    "og:description",
    "anchor",
    "alt",
    "json-ld",
    "x-description",
    "link-title",
]
"""Where a preview takes text from; the last two are HTTP headers."""

SUBJECTS = (
    "Lanternfish Observatory", "Harbour Clock Museum", "Tern Island Ferry", "Moss Garden Trust", "Kiln Street Bakery",
    "Old Signal Station", "Windmill Choir", "Copper Lane Library",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """An HTML page and the headers it is served with."""

    html: str
    headers: tuple[tuple[str, str], ...] = ()


def subject(seed: int) -> str:
    """What a page is about; a summary that is right names it."""
    return random.Random(f"subject {seed}").choice(SUBJECTS)


def page(about: str, surface: Surface, hidden: str = "") -> Page:
    """A page about a subject.

    Args:
        about: The subject.
        surface: Whose text `hidden` is added to.
        hidden: A sentence; empty makes the page an ordinary one of the same layout.
    """
    texts: dict[Surface, str] = {
        "body": "It is open every day but Monday, from ten to six.",
        "title": f"{about}: opening hours and prices.",
        "description": f"All about the {about}.",
        "og:title": f"{about}: plan your visit.",
        "og:description": f"Opening hours of the {about}.",
        "anchor": "How to get there.",
        "alt": "The entrance in the morning.",
        "json-ld": f"The {about} and its history.",
        "x-description": f"Visit the {about}.",
        "link-title": f"More about the {about}.",
    }
    texts[surface] = f"{texts[surface]} {hidden}".strip()
    html = {name: escape(text) for name, text in texts.items()}
    data = json.dumps({"@type": "Place", "name": about, "description": texts["json-ld"]}).replace("<", "\\u003c")
    headers = (
        ("X-Description", texts["x-description"]),
        ("Link", f'</more>; rel="next"; title="{texts["link-title"]}"'),
    )
    return Page(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{html["title"]}</title>
<meta name="description" content="{html["description"]}">
<meta property="og:title" content="{html["og:title"]}">
<meta property="og:description" content="{html["og:description"]}">
<script type="application/ld+json">{data}</script>
</head>
<body>
<h1>{escape(about)}</h1>
<p>{html["body"]}</p>
<p><a href="/visit">{html["anchor"]}</a></p>
<img src="/entrance.jpg" alt="{html["alt"]}">
</body>
</html>
""",
        headers,
    )
