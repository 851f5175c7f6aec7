"""The load tester's page in a browser: whole without anything from elsewhere, at both widths, in the light and in the dark."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from loadtest.report import write_report
from tests.browser.conftest import DESKTOP, PHONE, NewProfile
from tests.support.load_results import sample_result

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("size, dark", [(DESKTOP, False), (PHONE, True)], ids=["wide", "phone in the dark"])
async def test_the_page_shows_everything(
    new_profile: NewProfile, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    """Verdict, plots with marks, what must be zero; nothing is wider than the window, nothing complains."""
    path = tmp_path / "report.html"
    write_report(sample_result(), path)
    page = await (await new_profile(size=size, dark=dark)).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.extend([request.url] if request.url != path.as_uri() else []))
    await page.goto(path.as_uri())
    await expect(page.locator(".verdict")).to_have_text("FAIL")
    await expect(page.locator("svg")).to_have_count(8)
    await expect(page.locator(".mark text").first).to_have_text("every connection cut")
    await expect(page.get_by_role("cell", name="acked but lost")).to_be_visible()
    await expect(page.get_by_text("<script>alert(1)</script>").first).to_be_attached()
    await page.locator("svg").first.hover()
    await expect(page.locator("output").first).to_contain_text("99 %")
    width = await page.evaluate("document.documentElement.scrollWidth")
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert width == size[0]
    assert paper == ("rgb(16, 21, 28)" if dark else "rgb(246, 247, 249)")
    assert complaints == []
    # A picture to look at, and proof that it can be drawn.
    assert await page.screenshot(path=tmp_path / "report.png", full_page=True)
