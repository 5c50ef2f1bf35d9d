"""The pages of an experiment: each answer is on disk before the next screen."""

import secrets
import sys
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from biml.episodes.palette import Palette
from biml.errors import BimlError
from biml.experiment.design import Design
from biml.experiment.screens import AnswerError
from biml.experiment.session import Session
from biml.experiment.store import (
    WITHDRAWN,
    AlreadyStartedError,
    ExperimentFullError,
    Participant,
    StorageError,
    Store,
)
from biml.web.forms import (
    Form,
    client_address,
    fault_text,
    payload_of,
    screen_values,
    timing_of,
    with_form,
)
from biml.web.pages import Pages, redirect
from biml.web.researcher import Researcher
from biml.web.security import App, Protection, RateLimiter, form_token, same_secret

COOKIE_SECONDS = 60 * 24 * 3600
MAX_PARAMETER = 200
"""Characters of a parameter of the address."""


class Sessions:
    """Sessions in memory, brought up to date from the store, which alone decides.

    Another server process may have answered meanwhile, or this one may have been started anew.
    """

    SIZE = 2000

    def __init__(self, store: Store, design: Design) -> None:
        self._store = store
        self._design = design
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._locks: OrderedDict[int, Lock] = OrderedDict()
        self._lock = Lock()

    def lock(self, participant: Participant) -> Lock:
        """The lock to hold while a participant's session is used."""
        with self._lock:
            lock = self._locks.setdefault(participant.number, Lock())
            self._locks.move_to_end(participant.number)
            while len(self._locks) > self.SIZE:
                self._locks.popitem(last=False)
            return lock

    def get(self, participant: Participant) -> Session:
        """The session after all answers in the store."""
        session = self._sessions.get(participant.number)
        if session is None or len(session.history) > participant.answered:
            session = Session(self._design, participant.seed, participant.condition)
        if len(session.history) < participant.answered:
            for answer in self._store.answers(participant, first=len(session.history)):
                try:
                    session.answer(answer.payload)
                except AnswerError as error:
                    raise BimlError(
                        f"participant {participant.id}: the answer to screen {answer.screen} of "
                        f"biml {answer.biml_version} does not fit this version; use that one "
                        f"({error})"
                    ) from None
        with self._lock:
            self._sessions[participant.number] = session
            self._sessions.move_to_end(participant.number)
            while len(self._sessions) > self.SIZE:
                self._sessions.popitem(last=False)
        return session

    def forget(self, participant: Participant) -> None:
        """Read a session anew next time."""
        with self._lock:
            self._sessions.pop(participant.number, None)


class Experiment:
    """The requests of participants."""

    def __init__(self, design: Design, store: Store) -> None:
        self.design = design
        self.store = store
        self.sessions = Sessions(store, design)
        self.pages = Pages(Palette.for_symbols(design.colours))
        self.cookie = f"biml_{design.digest[:12]}"
        # A laboratory has one address for all of its participants.
        self.starts = RateLimiter(per_second=5, burst=500)
        self.unknown = RateLimiter(per_second=1, burst=100)
        self.requests = RateLimiter(per_second=20, burst=200)
        self.researcher = Researcher(design, store, self.pages)

    @property
    def app(self) -> Starlette:
        """The application, without `Protection`."""
        return Starlette(
            routes=[
                Route("/", self.show),
                Route("/start", with_form(self.start), methods=["POST"]),
                Route("/answer", with_form(self.answer), methods=["POST"]),
                *self.researcher.routes,
                *self.pages.routes,
            ],
            exception_handlers={
                StorageError: self.report_storage_error,
                BimlError: self.report_error,
                404: self.report_missing,
                405: self.report_missing,
                Exception: self.report_error,
            },
        )

    def show(self, request: Request) -> Response:
        """The screen that a participant has reached; else the page that lets them start."""
        participant = self._participant(request)
        if isinstance(participant, Response):
            return participant
        given = self._parameters(request.query_params)
        external_id = given.get(self._identifier)
        if participant is not None and external_id not in (None, participant.external_id):
            participant = None  # the next person at the same computer
        if participant is None:
            no_cookies = "started" in request.query_params
            return self.pages.render(
                request, "welcome.html", design=self.design, given=given, no_cookies=no_cookies
            )
        return self._screen(request, participant)

    def start(self, request: Request, form: Form) -> Response:
        """Let a participant in."""
        if not self.starts.allows(client_address(request)):
            return self._too_many(request)
        given = self._parameters(form)
        external_id = given.get(self._identifier)
        token = secrets.token_urlsafe(32)
        try:
            self.store.create_participant(given, token=token, external_id=external_id)
        except ExperimentFullError:
            return self._message(
                request, 410, "No places left", "All places in this study are taken. Thank you."
            )
        except AlreadyStartedError:
            found = self.store.find(external_id=external_id)
            # Who knows the secret session of the recruiting service is the same person; who has
            # answered nothing may never have seen the response to the start.
            if found is None or (
                found.answered and ("SESSION_ID" not in given or found.parameters != given)
            ):
                return self._message(
                    request,
                    409,
                    "Started already",
                    "This study has been started with your identifier already. Please go on in "
                    "the browser in which you began.",
                )
            self.store.replace_token(found, token)
        response = redirect(request, "/?started")
        response.set_cookie(
            self.cookie,
            token,
            max_age=COOKIE_SECONDS,
            path=request.scope.get("root_path") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return response

    def answer(self, request: Request, form: Form) -> Response:
        """Save an answer, and send the browser to the next screen."""
        participant = self._participant(request)
        if isinstance(participant, Response):
            return participant
        if participant is None or participant.status == WITHDRAWN:
            return redirect(request, "/")
        if not same_secret(form.get("form_token", ""), self._form_token(request)):
            return self._message(
                request, 403, "Please open the page again", "This page was not up to date."
            )
        with self.sessions.lock(participant):
            return self._save(request, participant, form)

    def _save(self, request: Request, participant: Participant, form: Form) -> Response:
        try:
            session = self.sessions.get(participant)
            screen = session.screen
            if form.get("screen") == str(screen.number) and session.status == "running":
                payload = payload_of(screen, form)
                session.answer(payload)
                saved = self.store.save_answer(
                    participant,
                    screen.number,
                    payload,
                    timing_of(form),
                    status=session.status,
                    stage=session.screen.stage,
                )
                if not saved:  # another server process was faster
                    self.sessions.forget(participant)
        except AnswerError as error:
            return self._screen_page(request, session, 422, str(error))
        except BaseException:
            self.sessions.forget(participant)
            raise
        return redirect(request, "/")

    def _screen(self, request: Request, participant: Participant) -> Response:
        if participant.status == WITHDRAWN:
            return self._message(
                request, 200, "Withdrawn", "Your data have been deleted, as you wished."
            )
        with self.sessions.lock(participant):
            return self._screen_page(request, self.sessions.get(participant))

    def _screen_page(
        self, request: Request, session: Session, status: int = 200, problem: str = ""
    ) -> Response:
        return self.pages.render(
            request,
            "screen.html",
            status,
            **screen_values(self.design, session),
            form_token=self._form_token(request),
            action="/answer",
            next="/",
            problem=problem,
            preview=None,
        )

    def _participant(self, request: Request) -> Participant | Response | None:
        """Who makes a request: None for somebody new, a response to refuse it."""
        token = request.cookies.get(self.cookie, "")
        if not token:
            return None
        if not self.requests.allows(token):
            return self._too_many(request)
        participant = self.store.find(token=token)
        if participant is None and not self.unknown.allows(client_address(request)):
            return self._too_many(request)
        return participant

    def _form_token(self, request: Request) -> str:
        return form_token(self.store.facts["server_key"], request.cookies.get(self.cookie, ""))

    @property
    def _identifier(self) -> str:
        """The parameter that identifies a participant, the first of the design's."""
        return next(iter(self.design.parameters), "")

    def _parameters(self, given: Mapping[str, str]) -> dict[str, str]:
        """The parameters of the design that an address or a form has."""
        values = {name: given.get(name, "") for name in self.design.parameters}
        printable = {
            name: "".join(filter(str.isprintable, value))[:MAX_PARAMETER].strip()
            for name, value in values.items()
        }
        return {name: value for name, value in printable.items() if value}

    def _message(self, request: Request, status: int, title: str, text: str) -> Response:
        response = self.pages.render(request, "message.html", status, title=title, text=text)
        if status in (429, 503):
            response.headers["Retry-After"] = "5"
        return response

    def _too_many(self, request: Request) -> Response:
        text = "Too many requests have come from here."
        return self._message(request, 429, "Please wait a moment", text)

    async def report_storage_error(self, request: Request, error: Exception) -> Response:
        """Tell the researcher on the console, and the participant to wait."""
        print(f"error: {error}", file=sys.stderr, flush=True)
        text = "Your last answer could not be saved yet. Please try again in a minute; nothing "
        return self._message(request, 503, "Please wait a moment", text + "else is lost.")

    async def report_missing(self, request: Request, error: Exception) -> Response:
        return self._message(request, 404, "Not found", "There is no such page.")

    async def report_error(self, request: Request, error: Exception) -> Response:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return self._message(request, 500, "Something went wrong", fault_text(self.design))


def make_app(design: Design, store: Store, root_path: str = "") -> App:
    """The application of an experiment, for any ASGI server."""
    return Protection(Experiment(design, store).app, root_path=root_path)
