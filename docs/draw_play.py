"""Film `biml play` in Chromium: docs/images/play.webp, and its page as docs/images/play.png.

biml data download human
python docs/draw_play.py [--data_dir FOLDER]

Needs chromium and chromedriver, and selenium and Pillow, which come with the extras test and
analysis.
"""

import argparse
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1180, 900
EXAMPLES = (("dax", "1"), ("wif", "4"), ("lug", "3"), ("dax fep", "111"), ("wif kiki lug", "34"))
QUERIES = ("lug fep", "lug fep kiki dax")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=".", help="folder that contains data_human")
    args = parser.parse_args()
    command = [sys.executable, "-m", "biml", "play", "--port", "0", "--data_dir", args.data_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            address = next(word for word in words if word.startswith("http"))
            film = Film(address)
            film.play()
        finally:
            server.terminate()


class Film:
    """A browser on the page, and the pictures taken of it with their times in milliseconds."""

    def __init__(self, address: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium") or shutil.which("chromium-browser"))
        for argument in ("--headless=new", "--disable-gpu", "--no-sandbox", "--hide-scrollbars"):
            options.add_argument(argument)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.browser = webdriver.Chrome(options=options, service=service)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.browser.get(address)
        self.frames: list[Image.Image] = []
        self.times: list[int] = []

    def play(self) -> None:
        try:
            self.wait_for_results()
            self.click("#clear")
            time.sleep(1)
            self.picture(900)
            for words, keys in EXAMPLES:
                self.click("#add")
                self.browser.switch_to.active_element.send_keys(words)
                self.find(".editing .pool .circle").send_keys(keys)
                self.picture(700)
                self.click(".editing .tools button")
            for query in QUERIES:
                self.find("#query").send_keys(Keys.CONTROL, "a")
                for word in query.split():
                    self.find("#query").send_keys(word + " ")
                    self.wait_for_results()
                    self.picture(600)
                self.times[-1] = 2600
            self.click("#gold")
            time.sleep(1)
            self.wait_for_results()
            self.picture(1800)
            self.save_still(IMAGES / "play.png")
            for number in (0, 1):
                self.browser.find_elements(By.CSS_SELECTOR, "button.dot")[number].click()
                self.picture(2200)
            self.save(IMAGES / "play.webp")
        finally:
            self.browser.quit()

    def find(self, css: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def click(self, css: str) -> None:
        self.find(css).click()

    def wait_for_results(self) -> None:
        while True:
            time.sleep(0.3)
            idle = self.find("#results").get_attribute("aria-busy") == "false"
            if idle and self.browser.find_elements(By.CSS_SELECTOR, "#results .card"):
                return

    def picture(self, milliseconds: int) -> None:
        self.frames.append(Image.open(io.BytesIO(self.browser.get_screenshot_as_png())))
        self.times.append(milliseconds)

    def save(self, path: Path) -> None:
        first, *others = [frame.convert("RGB") for frame in self.frames]
        options = {"save_all": True, "append_images": others, "duration": self.times, "loop": 0}
        first.save(path, quality=60, method=2, **options)
        print(f"{path}: {len(self.frames)} pictures, {path.stat().st_size / 1e3:.0f} kB")

    def save_still(self, path: Path) -> None:
        self.frames[-1].convert("P", palette=Image.Palette.ADAPTIVE, colors=240).save(path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
