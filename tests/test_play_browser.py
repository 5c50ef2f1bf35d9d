"""The page of `biml play` in a real browser, by clicks and keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import biml
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.paths import DataFolders
from biml.web.people import People
from biml.web.play_api import Playground
from biml.web.play_app import make_play_app
from fakes.browser import find, screen
from fakes.networks import small_network
from fakes.web import serving


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    small = Model(NetworkResponder(small_network()), "", "small")
    models = {"small": small, "oracle": biml.load("oracle")}
    playground = Playground(models, People(DataFolders(Path(__file__).parent)))
    with serving(make_play_app(playground)) as at:
        yield at


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """The page with the gold task."""
    browser.get_log("browser")
    screen(browser, width=1400)
    browser.get("about:blank")
    browser.get(address)
    wait(browser, lambda: len(study(browser)) == 14 and cards(browser))
    yield browser
    assert browser.get_log("browser") == []


def wait(browser: Any, condition: Any) -> None:
    WebDriverWait(browser, 60, poll_frequency=0.05).until(
        lambda _: condition() and is_idle(browser)
    )


def is_idle(browser: Any) -> bool:
    return find(browser, "#results").get_attribute("aria-busy") == "false"


def study(browser: Any) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, "#study > li")


def cards(browser: Any) -> dict[str, str]:
    found = browser.find_elements(By.CSS_SELECTOR, "#results .card")
    return {find(card, "h3").text: card.text for card in found}


def click(browser: Any, css: str, text: str) -> None:
    buttons = browser.find_elements(By.CSS_SELECTOR, css)
    next(button for button in buttons if button.text == text).click()


def test_the_gold_task_is_answered_by_each_model_with_its_readings(page: Any) -> None:
    assert list(cards(page)) == ["small", "oracle"]
    assert "correct" in cards(page)["oracle"]
    assert "100%" in cards(page)["oracle"]
    assert page.find_elements(By.CSS_SELECTOR, "#readings li")
    Select(find(page, "#queries")).select_by_visible_text("zup fep")
    wait(page, lambda: "YELLOW" not in find(page, "#query").get_attribute("value"))
    assert find(page, "#query").get_attribute("value") == "zup fep"
    circles = page.find_elements(By.CSS_SELECTOR, "#readings li .dots i")
    assert [circle.get_attribute("data-letters") for circle in circles] == ["Y", "Y", "Y"]
    assert circles[0].value_of_css_property("background-color") == "rgba(255, 200, 0, 1)"


def test_examples_are_taught_by_clicks_and_keys_and_a_link_holds_them(page: Any) -> None:
    click(page, "button", "Clear")
    wait(page, lambda: not study(page))
    for words, keys in (("dax", "1"), ("wif", "4"), ("dax fep", "11")):
        click(page, "button", "Add")
        page.switch_to.active_element.send_keys(words)
        find(page, ".editing .pool .circle").send_keys(keys)
        click(page, ".editing button", "Done")
    click(page, "#words button", "wif")
    click(page, "#words button", "fep")
    wait(page, lambda: "the only reading" in find(page, "#results").text or reading(page))
    assert reading(page) == "BLUE BLUE"
    link = page.current_url
    assert "study=dax -> RED | wif -> BLUE | dax fep -> RED RED" in unquote_plus(link)
    page.get("about:blank")
    page.get(link)
    wait(page, lambda: len(study(page)) == 3 and cards(page))
    assert find(page, "#query").get_attribute("value") == "wif fep"
    assert reading(page) == "BLUE BLUE"


def reading(page: Any) -> str:
    labels = page.find_elements(By.CSS_SELECTOR, "#readings li .dots")
    return labels[0].get_attribute("aria-label").upper() if labels else ""


def test_attention_is_that_of_the_symbol_clicked(page: Any) -> None:
    def shading() -> list[str]:
        return [
            mark.get_attribute("style") for mark in page.find_elements(By.CSS_SELECTOR, ".token")
        ]

    before, legend = shading(), find(page, "#legend").text
    assert "small" in legend
    second = page.find_elements(By.CSS_SELECTOR, "#results li")[1]
    find(second, "button.dot.end").click()
    wait(page, lambda: find(page, "#legend").text != legend)
    assert shading() != before
    assert find(page, "button.dot[aria-pressed=true]")
    shares = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#study .share")]
    assert all(share.endswith("%") for share in shares)


def test_examples_are_edited_as_text_with_symbols_of_ones_own(page: Any) -> None:
    find(page, "#as-text").click()
    text = find(page, "#text")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys("wug -> square\nblick -> star\nwug twice -> square square")
    query = find(page, "#query")
    query.send_keys(Keys.CONTROL, "a")
    query.send_keys("blick twice")
    wait(page, lambda: reading(page) == "STAR STAR")
    find(page, "#as-text").click()
    wait(page, lambda: len(study(page)) == 3)
    letters = [
        e.get_attribute("data-letters") for e in page.find_elements(By.CSS_SELECTOR, "#study .dot")
    ]
    assert len(set(letters)) == 2
    assert "no grammar" in cards(page)["oracle"] or "contradicts" in cards(page)["oracle"]


def test_the_page_fetches_nothing_from_elsewhere_and_fits_a_phone(page: Any, address: str) -> None:
    screen(page, width=390)
    page.get_log("performance")
    page.get("about:blank")
    page.get(address)
    wait(page, lambda: len(study(page)) == 14 and cards(page))
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [u for u in urls if not u.startswith((address, "data:", "about:"))] == []
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390
