"""The report in a real browser: rendering, sorting, requests and console errors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fakes.browser import find, screen

CELL = "td:nth-child(2)"


@pytest.fixture
def address(report_folder: Path) -> str:
    return (report_folder / "index.html").as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """The page, opened anew on a wide light screen."""
    screen(browser, width=1400)
    browser.get(address)
    return browser


def digits(colour: str) -> list[str]:
    """Red, green and blue, and opacity where it is given."""
    return re.findall(r"[\d.]+", colour)


def queries(browser: Any) -> list[str]:
    return [e.text for e in browser.find_elements("css selector", "#few-shot .answers .query")]


def test_circles_have_colours_and_letters(page: Any) -> None:
    circle = find(page, "#few-shot .answers li .syms i")
    assert circle.text == "D"
    assert circle.size["width"] == pytest.approx(circle.size["height"], abs=1)
    assert circle.size["width"] > 12
    assert circle.value_of_css_property("background-color") == "rgba(255, 200, 0, 1)"
    assert float(circle.value_of_css_property("border-radius").removesuffix("px")) >= 6
    assert len(page.find_elements("css selector", ".card .syms i")) > 400


def test_the_page_makes_no_requests_and_logs_no_errors(browser: Any, address: str) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    screen(browser, width=1400)
    browser.get(address)
    find(browser, "#few-shot thead button").click()
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [address]


def test_a_response_with_markup_is_displayed_as_text(page: Any) -> None:
    assert page.find_elements("css selector", "main script, main img") == []
    words = [e.text for e in page.find_elements("css selector", "#few-shot .word")]
    assert "<script>alert(1)</script>" in words


def test_clicks_sort_a_column_and_the_third_restores_the_order(page: Any) -> None:
    before = queries(page)
    head = find(page, "#few-shot .answers thead th:nth-child(2)")
    button = head.find_element("css selector", "button")
    keys = []
    for order in ("descending", "ascending", "none"):
        button.click()
        assert head.get_attribute("aria-sort") == order
        cells = page.find_elements("css selector", f"#few-shot .answers tbody {CELL}")
        keys.append([float(cell.get_attribute("data-key")) for cell in cells])
    assert keys[0] == sorted(keys[0], reverse=True)
    assert keys[1] == sorted(keys[1])
    assert keys[0] != keys[2]
    assert queries(page) == before
    assert find(page, "#status").get_attribute("textContent") == "Table in the original order"


def test_sorting_works_by_keyboard_and_is_announced_to_screen_readers(page: Any) -> None:
    first, second = page.find_elements("css selector", "#few-shot .answers thead button")[:2]
    first.send_keys("\ue007")  # Enter
    assert queries(page) == sorted(queries(page))
    assert page.switch_to.active_element == first
    first.send_keys("\ue004")  # Tab
    assert page.switch_to.active_element == second
    second.send_keys(" ")
    heads = page.find_elements("css selector", "#few-shot .answers thead th")
    assert [h.get_attribute("aria-sort") for h in heads[:2]] == ["none", "descending"]
    announced = find(page, "#status").get_attribute("textContent")
    assert announced == "Table sorted by People, descending"


def test_missing_values_are_sorted_last(page: Any) -> None:
    column = "xpath", '//*[@id="few-shot"]//table[@class="answers"]//thead/tr/th[3]//button'
    for _ in range(2):
        page.find_element(*column).click()
        cells = page.find_elements("css selector", "#few-shot .answers tbody td:nth-child(3)")
        keys = [cell.get_attribute("data-key") for cell in cells]
        assert keys[0] != ""
        assert set(keys[1:]) == {""}


def test_numbers_are_sorted_as_numbers(page: Any) -> None:
    table = find(page, "#likelihood table.numbers")
    table.find_element("css selector", "thead th:nth-child(2) button").click()
    cells = table.find_elements("css selector", f"tbody {CELL}")
    assert [cell.text.split()[0] for cell in cells] == ["−400.5", "−536.1"]


def test_columns_can_be_hidden(page: Any) -> None:
    cell = find(page, "#few-shot .answers td.m0")
    assert cell.is_displayed()
    find(page, ".choose summary").click()
    find(page, "#show-0").click()
    assert not cell.is_displayed()
    assert find(page, "#few-shot .answers td.m1").is_displayed()


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_the_page_is_no_wider_than_the_screen(browser: Any, address: str, width: int) -> None:
    screen(browser, width)
    browser.get(address)
    # A phone would zoom out of what is too wide, so that its screen seems wider.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return innerWidth") == width


@pytest.mark.parametrize("width", [390, 1400])
def test_circles_stay_within_their_cells(browser: Any, address: str, width: int) -> None:
    screen(browser, width=width)
    browser.get(address)
    beyond = browser.execute_script(
        """return [...document.querySelectorAll(".answers .syms, .card .syms")].filter((syms) => {
             const cell = syms.closest("th, td, .card").getBoundingClientRect();
             return syms.getBoundingClientRect().right > cell.right + 1;
           }).map((syms) => syms.ariaLabel);"""
    )
    assert beyond == []


def test_dark_mode_changes_page_and_figures(browser: Any, address: str) -> None:
    browser.get(address)
    colours = {}
    for scheme in ("light", "dark"):
        screen(browser, 1400, scheme)
        body, text = find(browser, "body"), find(browser, "figure svg text")
        colours[scheme] = [
            body.value_of_css_property("background-color"),
            body.value_of_css_property("color"),
            text.value_of_css_property("fill"),
        ]
    assert colours["light"][0] == "rgba(255, 255, 255, 1)"
    assert colours["dark"][0] == "rgba(21, 23, 28, 1)"
    for _, ink, figure in colours.values():
        assert digits(figure)[:3] == digits(ink)[:3]
