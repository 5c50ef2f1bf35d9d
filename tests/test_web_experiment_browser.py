"""Whole experiments in a real browser: by mouse, by keyboard alone, and on a phone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from biml.errors import BimlError
from biml.experiment.design import read_design
from biml.experiment.design_types import Design
from biml.experiment.screens import Screen
from biml.experiment.store import Store
from biml.web.experiment_app import make_app
from biml.web.researcher import right_answer
from fakes.browser import find, is_shown, picture, read, screen, wait
from fakes.web import serving, session_of

keys = pytest.importorskip("selenium.webdriver", reason="selenium is not installed").Keys


class Study:
    """An experiment that is served, and the browser of its one participant."""

    def __init__(self, browser: Any, design: Design, store: Store, address: str) -> None:
        self.browser, self.design, self.store, self.address = browser, design, store, address

    def all(self, css: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", css))

    def start(self) -> None:
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)
        self.browser.get(f"{self.address}/?PROLIFIC_PID=p1")
        find(self.browser, "button.primary").click()
        self.wait(lambda: is_shown(self.browser, "form[data-key]"))

    @property
    def screen(self) -> Screen:
        """The screen that the participant has reached, once the browser shows it."""
        present = session_of(self.store).screen
        shown = f"input[name=screen][value='{present.number}']"
        css = "body:not(:has(form))" if present.kind == "end" else shown
        self.wait(lambda: is_shown(self.browser, css))
        return present

    def wait(self, condition: Any) -> None:
        wait(self.browser, condition)

    def send(self) -> None:
        number = self.screen.number
        find(self.browser, "form[data-key] button.primary").click()
        self.wait(lambda: len(self.saved) > number)

    @property
    def saved(self) -> list[dict[str, Any]]:
        return [answer.payload for answer in self.store.answers(self.store.participants()[-1])]

    def pool(self, symbol: str, response: int = 0) -> Any:
        of = self.all("[data-circles]")[response]
        return of.find_element("css selector", f".pool [data-symbol='{symbol}']")

    def row(self) -> list[str]:
        return read(self.browser, ".row .circle", "e.dataset.symbol")

    def fill_in(self, payload: dict[str, Any]) -> None:
        """Answer the present screen by clicks and typing, without sending it."""
        responses = payload.get("responses") or [payload.get("response", [])]
        for number, response in enumerate(responses):
            for symbol in response:
                self.pool(symbol, number).click()
        for name, value in payload.get("answers", {}).items():
            fields = self.all(f"[name='answer.{name}']")
            if fields[0].get_attribute("type") == "radio":
                next(field for field in fields if field.get_attribute("value") == value).click()
            else:
                fields[0].send_keys(value)

    def go_on_until(self, kind: str) -> None:
        while (present := self.screen).kind != kind:
            self.fill_in(right_answer(self.design, present))
            if present.kind == "study":
                picture(self.browser, "experiment-study")
            self.send()

    def check_quiet(self) -> None:
        """No errors on the console, and no request to elsewhere."""
        assert self.browser.get_log("browser") == []
        events = [json.loads(e["message"])["message"] for e in self.browser.get_log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        assert {url for url in urls if not url.startswith((self.address, "data:"))} == set()


@pytest.fixture
def study(request, browser: Any, tmp_path: Path) -> Iterator[Study]:
    """The few-shot experiment, or another that the test names."""
    design = read_design(getattr(request, "param", "few-shot"))
    design = replace(design, parameters=("PROLIFIC_PID",), contact="Ada, ada@uni.example")
    store = Store.open(tmp_path / "experiment.db", design)
    screen(browser, width=1100)
    browser.delete_all_cookies()
    with serving(make_app(design, store)) as address:
        yield Study(browser, design, store, address)
    store.close()


def test_a_whole_few_shot_session_by_mouse(study: Study) -> None:
    study.start()
    study.go_on_until("end")
    assert study.design.codes.finished in find(study.browser, ".code").text
    assert [person.status for person in study.store.participants()] == ["finished"]
    session = session_of(study.store)
    assert all(step.outcome.correct is not False for step in session.history)
    timings = [a.timing for a in study.store.answers(study.store.participants()[0])]
    assert all(timing.rt_ms is not None and timing.rt_ms >= 0 for timing in timings)
    study.check_quiet()
    token = study.store.facts["researcher_token"]
    study.browser.get(f"{study.address}/researcher?token={token}")
    assert study.all("table")
    picture(study.browser, "experiment-people")


def test_a_whole_few_shot_session_by_keyboard_alone(study: Study) -> None:
    study.start()
    while (present := study.screen).kind != "end":
        payload = right_answer(study.design, present)
        if "response" in payload:
            symbols = payload["response"]
            press(study, *[str(present.pool.index(symbol) + 1) for symbol in symbols])
        for question in present.questions:
            value = payload["answers"][question.name]
            tab_to(study, f"[name='answer.{question.name}']")
            if question.kind == "choice":
                press(study, " ", *[keys.ARROW_DOWN] * question.choices.index(value))
            else:
                press(study, value)
        tab_to(study, "button.primary")
        press(study, keys.ENTER)
        study.wait(lambda number=present.number: len(study.saved) > number)
    session = session_of(study.store)
    assert session.status == "finished"
    assert all(step.outcome.correct is not False for step in session.history)


def press(study: Study, *pressed: str) -> None:
    study.browser.switch_to.active_element.send_keys(*pressed)


def tab_to(study: Study, css: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(40):
        if study.browser.execute_script("return document.activeElement.matches(arguments[0])", css):
            return
        press(study, keys.TAB)
    raise AssertionError(f"{css} cannot be reached by keyboard")


@pytest.mark.parametrize("study", ["probes", "open-ended"], indirect=True)
def test_a_whole_session_on_a_phone(study: Study) -> None:
    screen(study.browser, width=390)
    study.start()
    while (present := study.screen).kind != "end":
        width = study.browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390, f"{present.kind} is wider than the screen"
        for circle in study.all(".pool .circle"):
            assert circle.size["width"] >= 40  # a finger's breadth
        study.fill_in(right_answer(study.design, present))
        if present.kind == "test":
            picture(study.browser, "experiment-phone")
        study.send()
    assert session_of(study.store).status == "finished"
    study.check_quiet()


def test_circles_are_dragged_moved_removed_and_cleared(study: Study) -> None:
    from selenium.webdriver import ActionChains

    study.start()
    study.send()
    browser, (first, second, third, *_) = study.browser, study.screen.pool

    def drag(circle: Any, to: Any, x: int = 0) -> None:
        hold = ActionChains(browser, duration=50).click_and_hold(circle)
        hold.move_to_element_with_offset(to, x, 0).move_by_offset(1, 0).release().perform()

    answer = find(browser, ".answer")
    for symbol in (first, second, third):
        drag(study.pool(symbol), answer, x=150)
    assert study.row() == [first, second, third]
    drag(study.all(".row .circle")[2], study.all(".row .circle")[0], x=-15)
    assert study.row() == [third, first, second]
    drag(study.pool(second), study.all(".row .circle")[1], x=-15)
    assert study.row() == [third, second, first, second]
    drag(study.all(".row .circle")[0], find(browser, "h1"))
    assert study.row() == [second, first, second]
    study.all(".row .circle")[1].click()
    assert study.row() == [second, second]
    assert find(browser, "input[name=response]").get_attribute("value") == f"{second} {second}"
    find(browser, "[data-clear]").click()
    assert study.row() == []
    assert study.all(".ghost, .gap, .lifted") == []


def test_keys_move_and_remove_circles_and_are_announced(study: Study) -> None:
    study.start()
    study.send()
    first, second, third, *_ = study.screen.pool

    press(study, "1", "2", "3")
    assert study.row() == [first, second, third]
    press(study, keys.ARROW_UP, keys.SHIFT + keys.ARROW_RIGHT)
    assert study.row() == [second, first, third]
    press(study, keys.NULL)
    press(study, keys.DELETE)
    assert study.row() == [second, third]
    announced = find(study.browser, "[data-announce]").get_attribute("textContent")
    assert announced == f"{first.lower()} removed. Your answer: {second.lower()}, {third.lower()}"
    press(study, keys.ARROW_DOWN, keys.BACKSPACE)
    assert study.row() == [second]


def test_reload_back_button_second_tab_and_double_click(study: Study) -> None:
    study.start()
    study.send()
    browser, present = study.browser, study.screen
    wrong = present.pool[0]
    study.pool(wrong).click()
    browser.refresh()
    assert study.screen == present
    assert study.row() == [wrong]  # what was not sent yet is still there
    find(browser, "[data-clear]").click()
    study.fill_in(right_answer(study.design, present))
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(study.address)
    study.fill_in(right_answer(study.design, study.screen))
    browser.execute_script(
        "const b = document.querySelector('form .primary'); b.click(); b.click(); b.click();"
    )
    study.wait(lambda: session_of(study.store).screen.number == 2)
    browser.get("about:blank")  # closing a tab can fail where the machine is busy
    browser.switch_to.window(first)
    find(browser, "form .primary").click()  # the same screen, in the first tab
    study.wait(lambda: is_shown(browser, "input[name=screen][value='2']"))
    assert study.saved[1:] == [right_answer(study.design, present)]
    browser.back()
    browser.get(study.address)
    assert study.screen.number == 2


def test_a_lost_connection_is_waited_for(study: Study) -> None:
    study.start()
    study.send()
    study.fill_in(right_answer(study.design, study.screen))
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    study.browser.execute_cdp_cmd("Network.enable", {})
    command = "Network.emulateNetworkConditions"
    study.browser.execute_cdp_cmd(command, {"offline": True, **network})
    try:
        find(study.browser, "form .primary").click()
        study.wait(lambda: "no connection" in find(study.browser, "#problem").text)
        assert len(study.saved) == 1
    finally:
        study.browser.execute_cdp_cmd(command, {"offline": False, **network})
    study.wait(lambda: len(study.saved) == 2)
    assert study.screen.number == 2


def test_a_fault_of_the_server_is_named_and_the_answer_kept(study: Study, monkeypatch) -> None:
    study.start()
    study.send()
    study.fill_in(answer := right_answer(study.design, study.screen))
    study.browser.execute_script("const later = setTimeout; setTimeout = (f) => later(f, 0)")
    with monkeypatch.context() as patched:
        patched.setattr(study.store, "save_answer", Mock(side_effect=BimlError("a fault")))
        find(study.browser, "form .primary").click()
        study.wait(lambda: read(study.browser, ".primary", "e.textContent") == ["Try again"])
        text = find(study.browser, "#problem").text
        assert "server of this study has a fault" in text
        assert "Please tell the researchers (Ada, ada@uni.example)." in text
        assert "kept on this page" in text
        assert study.row() == answer["response"]
    assert len(study.saved) == 1
    find(study.browser, "form .primary").click()
    study.wait(lambda: len(study.saved) == 2)
    assert study.saved[1] == answer


def test_an_empty_row_is_refused_in_place(study: Study) -> None:
    study.start()
    study.send()
    find(study.browser, "form .primary").click()
    study.wait(lambda: "empty" in find(study.browser, "#problem").text)
    study.fill_in(right_answer(study.design, study.screen))
    study.send()
    assert len(study.saved) == 2
