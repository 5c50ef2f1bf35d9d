"""Every page in a real browser under the accessibility checker axe-core, where it can be had."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

import biml
from biml.experiment.design import read_design
from biml.experiment.session import Session
from biml.experiment.store import Store
from biml.paths import DataFolders
from biml.web.experiment_app import make_app
from biml.web.people import People
from biml.web.play_api import Playground
from biml.web.play_app import make_play_app
from biml.web.researcher import PREVIEW_SEED, right_answer
from fakes.browser import find, is_shown, read, screen, wait
from fakes.web import serving

Check = Callable[[str], None]


@pytest.fixture(params=[(1100, "light"), (390, "dark")], ids=["screen", "phone in the dark"])
def check(request, browser: Any) -> Check:
    """Check the page that the browser shows, whose name the argument is."""
    path = os.environ.get("BIML_AXE")
    if path is None:
        pytest.skip("set BIML_AXE to the file axe.min.js of axe-core (see CONTRIBUTING.md)")
    axe = Path(path).read_text("utf-8")
    screen(browser, *request.param)
    browser.set_script_timeout(120)

    def check(page: str) -> None:
        browser.execute_script(axe)
        script = "const done = arguments[0]; axe.run().then((found) => done(found.violations));"
        violations = browser.execute_async_script(script)
        nodes = [f"{v['help']}: {node['html'][:120]}" for v in violations for node in v["nodes"]]
        assert nodes == [], "\n".join([page, *nodes])

    return check


@pytest.mark.parametrize("name", ["few-shot", "open-ended", "probes"])
def test_every_screen_of_an_experiment(
    check: Check, browser: Any, tmp_path: Path, name: str
) -> None:
    design = replace(read_design(name), parameters=("PROLIFIC_PID",))
    store = Store.open(tmp_path / "experiment.db", design)
    session = Session(design, PREVIEW_SEED)
    kinds = {}
    while session.status == "running":
        kinds.setdefault(session.screen.kind, session.screen.number)
        session.answer(right_answer(design, session.screen))
    kinds["end"] = session.screen.number
    with serving(make_app(design, store)) as address:
        browser.delete_all_cookies()
        for path in ("", "/?started", "/nothing", "/researcher"):
            browser.get(address + path)
            check(path)
        browser.get(f"{address}/researcher?token={store.facts['researcher_token']}")
        check("people")
        for path in ("", *(f"/{number}" for number in kinds.values())):
            browser.get(f"{address}/researcher/preview{path}")
            check(path)
        browser.get(f"{address}/?PROLIFIC_PID=p1")
        find(browser, "button.primary").click()
        wait(browser, lambda: is_shown(browser, "form[data-key]"))
        check("a participant's first screen")
    store.close()


def test_the_page_of_play(check: Check, browser: Any) -> None:
    models = {name: biml.load(name) for name in ("oracle", "oracle-biases")}
    playground = Playground(models, People(DataFolders(Path(__file__).parent)))
    with serving(make_play_app(playground)) as address:
        browser.get(address)
        wait(browser, lambda: read(browser, "#results .card", "e.innerText"))
        check("the gold task")
        find(browser, "#models button").click()
        find(browser, "#study button.line").click()
        check("one model, and an example that is edited")
        find(browser, "#as-text").click()
        check("examples as text")


def test_the_report(check: Check, browser: Any, report_folder: Path) -> None:
    browser.get((report_folder / "index.html").as_uri())
    check("report")
