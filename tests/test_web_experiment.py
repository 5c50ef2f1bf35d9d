"""The pages of an experiment over HTTP: who gets in, what is saved, and what is refused."""

import csv
import io
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from biml.errors import BimlError
from biml.experiment.design import read_design
from biml.experiment.design_types import Codes
from biml.experiment.store import StorageError, Store
from biml.web.researcher import right_answer
from experiment_load import form_of
from fakes.web import Person, session_of

DESIGN = replace(read_design("open-ended"), parameters=("PROLIFIC_PID", "STUDY_ID", "SESSION_ID"))

CONSENT = {"screen": "0", "consent": "yes"}

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "experiment.db", DESIGN)
    yield opened
    opened.close()


@pytest.fixture
def person(store: Store) -> Person:
    """A participant who has started."""
    new = Person(store)
    new.start(PROLIFIC_PID="p1", STUDY_ID="s", SESSION_ID="secret", other="x")
    return new


def payloads(store: Store) -> list[dict[str, Any]]:
    return [answer.payload for answer in store.answers(store.participants()[-1])]


def test_the_address_without_a_participant_saves_nothing(store: Store) -> None:
    page = Person(store).get("/?PROLIFIC_PID=p1&other=x")
    assert page.status_code == 200
    assert 'name="PROLIFIC_PID" value="p1"' in page.text
    assert "other" not in page.text
    assert store.participants() == []


def test_a_session_goes_from_consent_to_the_code(store: Store, person: Person) -> None:
    token = person.token
    person.answer_until("end")
    (found,) = store.participants()
    assert found.status == "finished"
    assert found.parameters == {"PROLIFIC_PID": "p1", "STUDY_ID": "s", "SESSION_ID": "secret"}
    assert DESIGN.codes.finished in person.get().text
    before = payloads(store)
    person.post("/answer", {"form_token": token, "screen": str(len(before))})
    assert payloads(store) == before


def test_what_the_browser_measures_is_saved(store: Store, person: Person) -> None:
    person.answer(rt_ms="1234", changes="3", focus_lost="1")
    person.answer(rt_ms="-5", changes="9" * 300, focus_lost="x")
    first, second = store.answers(store.participants()[0])
    assert (first.timing.rt_ms, first.timing.changes, first.timing.focus_lost) == (1234, 3, 1)
    assert (second.timing.rt_ms, second.timing.changes) == (None, 2**31 - 1)


def test_an_answer_sent_again_changes_nothing(store: Store, person: Person) -> None:
    screen = session_of(store).screen
    form = {"form_token": person.token, **form_of(screen, {"consent": True})}
    for consent in ("yes", "yes", "no"):
        assert person.post("/answer", {**form, "consent": consent}).status_code == 303
    assert payloads(store) == [{"consent": True}]
    assert person.post("/answer", {**form, "screen": "7"}).status_code == 303
    assert payloads(store) == [{"consent": True}]


def test_a_new_server_process_goes_on_where_the_last_one_was(store: Store, person: Person) -> None:
    person.answer_until("quiz")
    page = person.get().text
    other = Person(store)
    other.browser.cookies = person.browser.cookies
    assert other.get().text == page
    other.answer()
    assert person.get().text == other.get().text != page


@pytest.mark.parametrize(
    "payload",
    [
        {"response": []},
        {"response": ["RED", "ULTRAVIOLET"]},
        {"response": [SCRIPT]},
        {"response": ["RED"] * 500},
        {"responses": [["RED"]]},
        {},
    ],
    ids=str,
)
def test_an_impossible_answer_is_refused(
    store: Store, person: Person, payload: dict[str, Any]
) -> None:
    person.answer()
    refused = person.answer(payload)
    assert refused.status_code == 422
    assert re.search(r'id="problem" role="alert">[^<]{10,}', refused.text)
    assert SCRIPT not in refused.text
    assert payloads(store) == [{"consent": True}]
    assert person.answer().status_code == 303


def test_scripts_in_texts_stay_text(store: Store) -> None:
    person = Person(store)
    person.start(PROLIFIC_PID=SCRIPT, STUDY_ID='"><img src=x>')
    person.answer_until("questions")
    answers = right_answer(DESIGN, session_of(store).screen)["answers"]
    texts = {question.name for question in DESIGN.questions if question.kind == "text"}
    person.answer({"answers": {**answers, **dict.fromkeys(texts, SCRIPT)}})
    assert payloads(store)[-1]["answers"].items() >= dict.fromkeys(texts, SCRIPT).items()
    person.log_in()
    for path in ("/", "/researcher/people", f"/?PROLIFIC_PID={SCRIPT}"):
        page = person.get(path).text
        assert SCRIPT not in page
        assert "<img" not in page


def test_a_forged_token_is_nobody(store: Store, person: Person) -> None:
    stranger = Person(store)
    for forged in ("x", "1", "../..", "' OR 1=1 --", "a" * 10_000):
        stranger.browser.cookies.set(next(iter(person.browser.cookies)), forged)
        assert "form_token" not in stranger.get().text
        form = {"form_token": person.token, **CONSENT}
        assert stranger.post("/answer", form).headers["location"] == "/"
    assert payloads(store) == []


def test_a_form_of_somebody_else_is_refused(store: Store, person: Person) -> None:
    other = Person(store)
    other.start(PROLIFIC_PID="p2")
    assert person.post("/answer", CONSENT).status_code == 403
    assert person.post("/answer", {**CONSENT, "form_token": other.token}).status_code == 403
    assert payloads(store) == []


def test_participants_neither_see_nor_change_each_others_sessions(store: Store) -> None:
    anna, berta = Person(store), Person(store)
    anna.start(PROLIFIC_PID="p1")
    berta.start(PROLIFIC_PID="p2")
    berta.answer()
    for person, screen, other in ((anna, 0, berta), (berta, 1, anna)):
        assert f'name="screen" value="{screen}"' in person.get().text
        form = {"form_token": other.token, "consent": "yes", "response": "RED"}
        for number in "01":
            assert person.post("/answer", {**form, "screen": number}).status_code == 403
        name = f"biml_researcher_{DESIGN.digest[:12]}"
        for value in (other.token, next(iter(other.browser.cookies.values()))):
            person.browser.cookies.set(name, value)
            assert person.get("/researcher/people").headers["location"] == "/researcher"
    assert [person.answered for person in store.participants()] == [0, 1]


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}], ids=str
)
def test_a_form_on_another_site_is_refused(
    store: Store, person: Person, headers: dict[str, str]
) -> None:
    form = {"form_token": person.token, **CONSENT}
    assert person.post("/answer", form, **headers).status_code == 403
    assert person.post("/start", {}, **headers).status_code == 403
    assert payloads(store) == []
    assert len(store.participants()) == 1


@pytest.mark.parametrize("size", [10_000_000, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(store: Store, person: Person, size: int, chunked: bool) -> None:
    body = b"x" * size
    content = iter([body[:1000], body[1000:]]) if chunked else body
    assert person.browser.post("/answer", content=content).status_code == 413
    assert person.browser.post("/answer", content=b"a=1&" * 50_000).status_code != 200


def test_an_identifier_starts_once(store: Store, person: Person) -> None:
    person.answer()
    other = Person(store)
    assert other.start(PROLIFIC_PID="p1").status_code == 409
    guess = {"PROLIFIC_PID": "p1", "STUDY_ID": "s", "SESSION_ID": "guess"}
    assert other.start(**guess).status_code == 409
    assert len(store.participants()) == 1
    assert "Questions" not in other.get().text


def test_who_never_saw_the_response_to_the_start_can_start_again(
    store: Store, person: Person
) -> None:
    other = Person(store)
    assert other.start(PROLIFIC_PID="p1").status_code == 303
    other.answer()
    assert len(store.participants()) == len(payloads(store)) == 1
    assert person.start(PROLIFIC_PID="p1").status_code == 409


def test_the_same_session_of_the_service_goes_on_in_another_browser(
    store: Store, person: Person
) -> None:
    person.answer()
    other = Person(store)
    assert other.start(PROLIFIC_PID="p1", STUDY_ID="s", SESSION_ID="secret").status_code == 303
    assert "Practice" in other.get().text
    assert "Start" in person.get().text  # the browser before is nobody now
    assert len(store.participants()) == 1


def test_the_next_person_at_a_computer_starts_anew(store: Store, person: Person) -> None:
    assert "Start" in person.get("/?PROLIFIC_PID=p2").text
    person.start(PROLIFIC_PID="p2")
    assert [one.external_id for one in store.participants()] == ["p1", "p2"]
    assert "form_token" in person.get("/?PROLIFIC_PID=p2").text


def test_nobody_gets_in_when_all_places_are_taken(store: Store, person: Person) -> None:
    store.design = replace(DESIGN, participants=1)
    assert Person(store).start(PROLIFIC_PID="p2").status_code == 410
    assert len(store.participants()) == 1


def test_who_has_withdrawn_sees_so(store: Store, person: Person) -> None:
    person.answer()
    store.withdraw("p1")
    assert "deleted" in person.get().text
    assert person.post("/answer", {"form_token": "x", **CONSENT}).status_code == 303


def test_the_cookie_is_kept_from_scripts_and_from_plain_connections(store: Store) -> None:
    for base in ("http://testserver", "https://testserver"):
        cookie = Person(store, base=base).start(PROLIFIC_PID=base).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert ("Secure" in cookie) == base.startswith("https")


def test_every_response_has_the_headers_of_a_safe_page(store: Store, person: Person) -> None:
    for path in ("/", "/static/style.css", "/palette.css", "/nowhere", "/researcher"):
        headers = person.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert person.get().headers["cache-control"] == "no-store"
    assert person.get("/nowhere").status_code == 404
    assert person.get("/static/../experiment_app.py").status_code == 404
    assert person.get("/static/%2e%2e/experiment_app.py").status_code == 404


def test_pages_hold_no_script_or_style_of_their_own(store: Store, person: Person) -> None:
    while session_of(store).status == "running":
        page = person.get().text
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", page)
        person.answer()


@pytest.mark.parametrize("removed", [True, False], ids=["prefix removed", "prefix kept"])
def test_pages_work_under_a_path_of_a_reverse_proxy(store: Store, removed: bool) -> None:
    person = Person(store, root_path="/lab/study")
    if removed:
        person.root = ""
    started = person.start()
    assert started.headers["location"].startswith("/lab/study/")
    assert "Path=/lab/study" in started.headers["set-cookie"]
    person.browser.cookies.set(*next(iter(person.browser.cookies.items())), path="/")
    page = person.get().text
    addresses = re.findall(r'(?:href|src|action|data-next)="([^"#]*)"', page)
    assert {a for a in addresses if not a.startswith(("/lab/study/", "data:"))} == set()
    for address in addresses:
        if "static" in address or "palette" in address:
            assert person.browser.get(address).status_code == 200
    assert person.answer().headers["location"] == "/lab/study/"


def test_no_address_is_kept(store: Store, person: Person, capfd, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    person.answer()
    assert "testclient" not in "".join(capfd.readouterr()) + caplog.text
    folder = Path(store.name).parent
    assert all(b"testclient" not in file.read_bytes() for file in folder.iterdir())


def test_requests_are_limited_by_rate(store: Store, person: Person, monkeypatch) -> None:
    monkeypatch.setattr("biml.web.security.time.monotonic", lambda: 1e9)
    codes = [person.browser.get("/").status_code for _ in range(210)]
    assert codes[:150] == [200] * 150
    assert codes[-1] == 429
    assert person.browser.get("/").headers["retry-after"]
    other = Person(store)
    assert other.start(PROLIFIC_PID="p2").status_code == 303


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (StorageError("x.db: disk is full"), 503, "could not be saved yet"),
        (BimlError("a fault"), 500, "Please tell the researchers (ada@uni.example)."),
    ],
)
def test_a_server_that_fails_says_so_and_loses_nothing(
    store: Store, error: BimlError, status: int, text: str, monkeypatch, capsys
) -> None:
    store.design = replace(DESIGN, contact="ada@uni.example")
    person = Person(store)
    person.start()
    with monkeypatch.context() as patched:
        patched.setattr(store, "save_answer", Mock(side_effect=error))
        refused = person.answer()
    assert refused.status_code == status
    assert text in refused.text
    assert f"error: {error}" in capsys.readouterr().err
    assert person.answer().status_code == 303
    assert payloads(store) == [{"consent": True}]


def test_answers_of_a_version_with_other_screens_are_named(
    store: Store, person: Person, capsys
) -> None:
    store.save_answer(store.participants()[0], 0, {"response": ["RED"]})
    assert person.get().status_code == 500
    message = capsys.readouterr().err
    assert store.participants()[0].id in message
    assert "screen 0" in message


def test_an_address_as_code_is_a_link(tmp_path: Path) -> None:
    code = "https://app.example/complete?cc=1&x=2"
    text = f"{DESIGN.text}\n"
    digest = sha256(text.encode()).hexdigest()
    design = replace(DESIGN, codes=Codes(finished=code), text=text, digest=digest)
    person = Person(Store.open(tmp_path / "x.db", design))
    person.start()
    person.answer_until("end")
    assert 'href="https://app.example/complete?cc=1&amp;x=2"' in person.get().text


def test_the_researcher_needs_the_token(store: Store, person: Person) -> None:
    token = store.facts["researcher_token"]
    paths = ("/researcher/people", "/researcher/preview", "/researcher/preview/3")
    for path in paths:
        assert person.get(path).headers["location"] == "/researcher"
    for wrong in ("x", token[:-1], token + "x", "ü"):
        assert person.get(f"/researcher?token={wrong}").status_code == 403
    login = person.post("/researcher", {"token": token})
    assert "SameSite=strict" in login.headers["set-cookie"]
    for path in paths:
        assert person.get(path).status_code == 200
    assert "p1" in person.get("/researcher/people").text


def test_the_researcher_downloads_what_the_command_exports(store: Store, person: Person) -> None:
    person.answer_until("end")
    assert person.get("/researcher/download").headers["location"] == "/researcher"
    person.log_in()
    archive = zipfile.ZipFile(io.BytesIO(person.get("/researcher/download").content))
    assert "responses.csv" in archive.namelist()
    rows = list(csv.DictReader(io.StringIO(archive.read("responses.csv").decode())))
    assert len(rows) == len(DESIGN.queries)


def test_tokens_cannot_be_tried_without_end(store: Store) -> None:
    person = Person(store)
    for _ in range(20):
        person.get("/researcher?token=x")
    page = person.log_in()
    assert page.status_code == 403
    assert "Too many" in page.text


@pytest.mark.parametrize("name", ["few-shot", "open-ended", "probes"])
def test_every_screen_can_be_previewed_without_saving(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path / "x.db", read_design(name))
    person = Person(store)
    person.log_in()
    page = person.get("/researcher/preview?seed=7").text
    links = re.findall(r'href="(/researcher/preview/\d+\?seed=7)"', page)
    assert len(links) > 8
    for link in links:
        assert "nothing is saved" in person.get(link).text
    posted = person.post("/researcher/preview/0/answer?seed=7", {"consent": "yes"})
    assert "nothing is saved" in posted.text
    refused = person.post("/researcher/preview/1/answer?seed=7", {"response": ""})
    assert refused.status_code == 422
    assert store.participants() == []
