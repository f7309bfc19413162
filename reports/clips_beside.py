"""The page of a results folder, made from the one that stands alone. It imports nothing, for planning."""


def beside_clips(page: str) -> str:
    """The page for a results folder: it also plays clips/<row>/mp4/<clip>.mp4 below its own folder.

    page: as `render_page` makes it. The policy names file: because 'self' means nothing to some browsers when
    a page is opened as a file.
    """
    strict, html = "media-src data:;", '<html lang="en">'
    assert strict in page, "the page has no policy to change"
    assert html in page, "the page has no root element to change"
    page = page.replace(html, '<html lang="en" data-clips="clips">', 1)
    return page.replace(strict, "media-src data: 'self' file:;", 1)
