"""The researcher's pages of an experiment: progress, preview of every screen, download."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import make_archive
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from biml.experiment.design import Design
from biml.experiment.export import export
from biml.experiment.screens import AnswerError, Screen
from biml.experiment.session import Session
from biml.experiment.store import Store
from biml.web.forms import Form, client_address, payload_of, read_form, screen_values
from biml.web.pages import Pages, redirect
from biml.web.security import RateLimiter, form_token, same_secret

PREVIEW_SEED = 1


class Researcher:
    """The requests of a client with the researcher's token."""

    def __init__(self, design: Design, store: Store, pages: Pages) -> None:
        self.design = design
        self.store = store
        self.pages = pages
        self.cookie = f"biml_researcher_{design.digest[:12]}"
        self.attempts = RateLimiter(per_second=0.2, burst=10)

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/researcher", self._login, methods=["GET", "POST"]),
            Route("/researcher/people", self._behind_token(self._people)),
            Route("/researcher/download", self._behind_token(self._download)),
            Route("/researcher/preview", self._behind_token(self._preview_list)),
            Route("/researcher/preview/{number:int}", self._behind_token(self._preview)),
            Route(
                "/researcher/preview/{number:int}/answer",
                self._behind_token(self._preview_answer),
                methods=["POST"],
            ),
        ]

    async def _login(self, request: Request) -> Response:
        """Exchange the token for a cookie, so that the address does not show it."""
        token = request.query_params.get("token", "")
        if request.method == "POST":
            token = (await read_form(request)).get("token", "")
        if not token and self._is_known(request):
            return redirect(request, "/researcher/people")
        problem = ""
        if token:
            if not self.attempts.allows(client_address(request)):
                problem = "Too many attempts; wait a moment."
            elif same_secret(token, self.store.facts["researcher_token"]):
                response = redirect(request, "/researcher/people")
                response.set_cookie(
                    self.cookie,
                    self._cookie_value,
                    path=f"{request.scope.get('root_path', '')}/researcher",
                    secure=request.url.scheme == "https",
                    httponly=True,
                    samesite="strict",
                )
                return response
            else:
                problem = "This is not the token that `biml experiment serve` has printed."
        status = 403 if problem else 200
        return self.pages.render(request, "login.html", status, design=self.design, problem=problem)

    @property
    def _cookie_value(self) -> str:
        return form_token(self.store.facts["server_key"], self.store.facts["researcher_token"])

    def _is_known(self, request: Request) -> bool:
        return same_secret(request.cookies.get(self.cookie, ""), self._cookie_value)

    def _behind_token(self, page: Callable[..., Response]) -> Callable[..., Any]:
        async def checked(request: Request) -> Response:
            if not self._is_known(request):
                return redirect(request, "/researcher")
            form = (await read_form(request),) if request.method == "POST" else ()
            return await run_in_threadpool(page, request, *form)

        return checked

    def _people(self, request: Request) -> Response:
        people = self.store.participants()
        return self.pages.render(
            request,
            "researcher.html",
            design=self.design,
            people=people,
            counts=Counter(person.status for person in people),
            conditions=Counter(
                person.condition for person in people if person.status == "finished"
            ),
            active=sum(
                person.status == "running" and time.time() - person.updated < 300
                for person in people
            ),
            moment=lambda seconds: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)),
        )

    def _download(self, request: Request) -> Response:
        """The files of `biml experiment export` as a zip archive."""
        exclusions = "mark" if request.query_params.get("exclusions") == "mark" else "apply"
        with TemporaryDirectory() as folder:
            exported = Path(folder) / "export"
            export(self.store, exported, exclusions=exclusions)
            archive = make_archive(str(Path(folder) / "archive"), "zip", exported)
            contents = Path(archive).read_bytes()
        name = quote(f"{self.design.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.zip")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(contents, media_type="application/zip", headers=headers)

    def _preview_list(self, request: Request) -> Response:
        seed, condition = self._preview_of(request)
        session = Session(self.design, seed, condition)
        screens = [session.screen]
        while session.status == "running":
            session.answer(right_answer(self.design, session.screen))
            screens.append(session.screen)
        return self.pages.render(
            request,
            "preview.html",
            design=self.design,
            screens=screens,
            seed=seed,
            condition=condition,
        )

    def _preview(self, request: Request) -> Response:
        return self._preview_page(request, self._preview_session(request))

    def _preview_answer(self, request: Request, form: Form) -> Response:
        session, problem = self._preview_session(request), ""
        try:
            session.answer(payload_of(session.screen, form))
        except AnswerError as error:
            problem = str(error)
        return self._preview_page(request, session, problem)

    def _preview_session(self, request: Request) -> Session:
        """The session after right answers to the screens before the one in the address."""
        session = Session(self.design, *self._preview_of(request))
        while session.status == "running" and len(session.history) < request.path_params["number"]:
            session.answer(right_answer(self.design, session.screen))
        return session

    def _preview_of(self, request: Request) -> tuple[int, str | None]:
        seed = request.query_params.get("seed", "")[:18]
        names = [condition.name for condition in self.design.conditions]
        condition = request.query_params.get("condition")
        if condition not in names:
            condition = names[0] if names else None
        return (int(seed) if seed.isascii() and seed.isdigit() else PREVIEW_SEED), condition

    def _preview_page(self, request: Request, session: Session, problem: str = "") -> Response:
        return self.pages.render(
            request,
            "screen.html",
            422 if problem else 200,
            **screen_values(self.design, session),
            form_token="",
            action=f"/researcher/preview/{session.screen.number}/answer?{request.url.query}",
            next=f"/researcher/preview/{session.screen.number + 1}?{request.url.query}",
            problem=problem,
            preview=request.url.query,
        )


def right_answer(design: Design, screen: Screen) -> dict[str, Any]:
    """An answer to a screen with which the session goes on the shortest way."""
    examples, excluding = {"number": "30", "text": "none"}, design.excluding_answers
    answers = {
        q.name: examples.get(q.kind)
        or next(choice for choice in q.choices if choice != excluding.get(q.name))
        for q in (screen.questions if screen.kind == "questions" else ())
    }
    values: dict[str, Any] = {
        "consent": True,
        "response": list(screen.target or screen.pool[:1]),
        "responses": [list(screen.pool[:1]) for _ in screen.queries],
        "answers": answers or dict(design.quiz_answers),
    }
    return {key: values[key] for key in [screen.answer_key] if key}
