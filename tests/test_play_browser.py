"""The page of `biml play` in a real browser, by clicks and keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import biml
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.paths import DataFolders
from biml.web.people import People
from biml.web.play_api import Playground
from biml.web.play_app import make_play_app
from fakes.browser import find, read, screen, wait
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
    settle(browser, lambda: len(study(browser)) == 14 and cards(browser))
    yield browser
    assert browser.get_log("browser") == []


def settle(page: Any, condition: Any) -> None:
    """Wait until the page has the results of its present state, and a condition is true."""
    wait(page, lambda: read(page, "#results", "e.ariaBusy") == ["false"] and condition())


def study(page: Any) -> list[str]:
    return read(page, "#study > li", "e.innerText")


def cards(page: Any) -> dict[str, str]:
    return dict(read(page, "#results .card", "[e.querySelector('h3').innerText, e.innerText]"))


def reading(page: Any) -> str:
    """The most probable reading of the query."""
    labels = read(page, "#readings li .dots", "e.ariaLabel")
    return labels[0].upper() if labels else ""


def query(page: Any) -> str:
    return str(read(page, "#query", "e.value")[0])


def click(page: Any, css: str, text: str) -> None:
    elements = "[...document.querySelectorAll(arguments[0])]"
    script = f"return {elements}.find((e) => e.innerText === arguments[1])"
    page.execute_script(script, css, text).click()


def test_the_gold_task_is_answered_by_each_model_with_its_readings(page: Any) -> None:
    assert list(cards(page)) == ["small", "oracle"]
    assert "correct" in cards(page)["oracle"]
    assert "100%" in cards(page)["oracle"]
    assert reading(page)
    Select(find(page, "#queries")).select_by_visible_text("zup fep")
    settle(page, lambda: query(page) == "zup fep")
    circles = "[e.dataset.letters, getComputedStyle(e).backgroundColor]"
    yellow = ["Y", "rgb(255, 200, 0)"]
    assert read(page, "#readings li .dots i", circles) == [yellow, yellow, yellow]


def test_examples_are_taught_by_clicks_and_keys_and_a_link_holds_them(page: Any) -> None:
    click(page, "button", "Clear")
    settle(page, lambda: not study(page))
    for words, keys in (("dax", "1"), ("wif", "4"), ("dax fep", "11")):
        click(page, "button", "Add")
        page.switch_to.active_element.send_keys(words)
        find(page, ".editing .pool .circle").send_keys(keys)
        click(page, ".editing button", "Done")
    click(page, "#words button", "wif")
    click(page, "#words button", "fep")
    settle(page, lambda: reading(page) == "BLUE BLUE")
    link = page.current_url
    assert "study=dax -> RED | wif -> BLUE | dax fep -> RED RED" in unquote_plus(link)
    page.get("about:blank")
    page.get(link)
    settle(page, lambda: len(study(page)) == 3 and cards(page))
    assert query(page) == "wif fep"
    assert reading(page) == "BLUE BLUE"


def test_models_are_chosen_and_a_link_holds_the_choice(page: Any) -> None:
    click(page, "#models button", "small")
    settle(page, lambda: list(cards(page)) == ["oracle"])
    assert read(page, "#legend", "e.innerText") == [""]
    link = page.current_url
    page.get("about:blank")
    page.get(link)
    settle(page, lambda: list(cards(page)) == ["oracle"])
    assert read(page, "#models button", "e.ariaPressed") == ["false", "true"]
    click(page, "#models button", "small")
    settle(page, lambda: list(cards(page)) == ["small", "oracle"])


def test_attention_is_that_of_the_symbol_clicked(page: Any) -> None:
    def shading() -> list[str]:
        return read(page, ".token", "e.style.cssText")

    before, legend = shading(), read(page, "#legend", "e.innerText")
    assert "small" in legend[0]
    find(page, "#results li:nth-child(2) button.dot.end").click()
    settle(page, lambda: read(page, "#legend", "e.innerText") != legend)
    assert shading() != before
    assert find(page, "button.dot[aria-pressed=true]")
    assert all(share.endswith("%") for share in read(page, "#study .share", "e.innerText"))
    assert read(page, "#layer", "e.innerText.split('\\n')") == [["all", "0", "1"]]
    averaged = shading()
    for choice, value in (("layer", "1"), ("head", "0")):
        Select(find(page, f"#{choice}")).select_by_value(value)
        assert shading() != averaged
        averaged = shading()


def test_examples_are_edited_as_text_with_symbols_of_ones_own(page: Any) -> None:
    find(page, "#as-text").click()
    text = find(page, "#text")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys("wug -> square\nblick -> star\nwug twice -> square square")
    find(page, "#query").send_keys(Keys.CONTROL, "a")
    find(page, "#query").send_keys("blick twice")
    settle(page, lambda: reading(page) == "STAR STAR")
    find(page, "#as-text").click()
    settle(page, lambda: len(study(page)) == 3)
    assert len(set(read(page, "#study .dot", "e.dataset.letters"))) == 2
    assert "no grammar" in cards(page)["oracle"] or "contradicts" in cards(page)["oracle"]


def test_the_page_fetches_nothing_from_elsewhere_and_fits_a_phone(page: Any, address: str) -> None:
    screen(page, width=390)
    page.get_log("performance")
    page.get("about:blank")
    page.get(address)
    settle(page, lambda: len(study(page)) == 14 and cards(page))
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [u for u in urls if not u.startswith((address, "data:", "about:"))] == []
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390
