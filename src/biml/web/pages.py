"""Rendering of pages: templates, static files and the circles of output symbols."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from biml.episodes.palette import CSS, Palette, SymbolStyle
from biml.version import __version__


class Pages:
    """The templates of `biml.web`, with circles in the styles of a palette.

    Templates have `url(path)`, `circles(symbols)` (a row of circles) and `style(symbol)`.
    """

    def __init__(self, palette: Palette) -> None:
        css = palette.css
        self._css = f"{CSS}\n{css}\n{css.replace('.syms ', '.circle')}\n"
        circles = lru_cache(10_000)(lambda symbols: Markup(palette.html(symbols)))
        self._environment = Environment(
            loader=PackageLoader("biml.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,  # else each page looks whether its files have changed
        )
        self._environment.globals |= {
            "circles": lambda symbols: circles(tuple(symbols)),
            # A symbol without a colour of its own stands in grey, with its name.
            "style": lambda symbol: (
                palette.styles.get(symbol) or SymbolStyle("e7e9ed", symbol, symbol)
            ),
            "version": __version__,
        }
        self._environment.filters["paragraphs"] = paragraphs

    def render(
        self, request: Request, template: str, /, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page as a response."""
        root = request.scope.get("root_path", "")
        html = self._environment.get_template(template).render(
            url=lambda path: f"{root}{path}", **values
        )
        return HTMLResponse(html, status)

    @property
    def routes(self) -> list[Route | Mount]:
        """Routes of the files that pages refer to: `/static/…` and `/palette.css`."""
        return [
            Route("/palette.css", self._palette_css),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ]

    def _palette_css(self, _: Request) -> Response:
        return Response(self._css, media_type="text/css", headers={"Cache-Control": "no-cache"})


def redirect(request: Request, path: str) -> RedirectResponse:
    """Send the browser to a path of the application."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}", 303)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, which blank lines separate.

    >>> paragraphs("One,\\nstill one.\\n\\nTwo.")
    ['One,\\nstill one.', 'Two.']
    """
    return [part.strip() for part in text.split("\n\n") if part.strip()]
