"""Pictures with a palette show what they showed before."""

import base64
import random

import pytest
from playwright.sync_api import Page

from tests.browser.palette import with_palette

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("system")]

PIXELS = """
async (address) => {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [image.width, image.height, ...context.getImageData(0, 0, image.width, image.height).data];
}
"""


def pixels(page: Page, picture: bytes) -> list[int]:
    address = "data:image/png;base64," + base64.b64encode(picture).decode()
    return list(page.evaluate(PIXELS, address))


def test_a_picture_of_few_colours_stays_as_it_is(page: Page) -> None:
    chance = random.Random(7)
    boxes = "".join(
        f"<i style='position:absolute;left:{chance.randrange(80)}px;top:{chance.randrange(60)}px;width:9px;height:7px;"
        f"background:rgb({chance.randrange(256)},{chance.randrange(256)},{chance.randrange(256)})'></i>"
        for _ in range(200)
    )
    page.set_viewport_size({"width": 91, "height": 67})
    page.set_content(boxes)
    picture = page.screenshot()
    reduced = with_palette(picture)
    assert pixels(page, reduced) == pixels(page, picture)
