"""Titles, labels, citations and notes that want to be something else where they are shown, as data. Each is
refused where it is read, or shown as it is in every exported format (test_hostile_texts.py). A new one
is one more line here.
"""

HOSTILE = {
    # spreadsheets
    "a formula": '=HYPERLINK("http://evil.example","RAVEN")',
    "a formula of a plus": "+1+cmd|' /C calc'!A0",
    "a formula of a minus": "-2+3+cmd|' /C calc'!A0",
    "a formula of an at": "@SUM(A1:A9)",
    "a formula behind blanks": "   =1+1",
    "a formula behind a wide blank": "\u3000=1+1",
    "a wide formula": "\uff1d1+1",
    "quotes and commas": 'a", "b", "',
    # HTML
    "a script": "<script>alert(1)</script>",
    "an image": '<img src=x onerror="alert(1)">',
    "an end of a script": "</script><script>alert(1)//",
    "an end of a cell": "</td></tr></table><h1>RAVEN</h1>",
    "a comment": "<!-- RAVEN",
    "an entity": "&lt;b&gt; &#60;script&#62; &amp;",
    "an attribute": '" onmouseover="alert(1)',
    "a template": "{{ 7 * 7 }} {% raw %} {# x #}",
    # Markdown
    "a link": "[RAVEN](http://evil.example)",
    "a link of scripts": "[RAVEN](javascript:alert(1))",
    "an image in Markdown": "![RAVEN](http://evil.example/x.png)",
    "a link in brackets": "<http://evil.example>",
    "a bare link": "http://evil.example and https://evil.example and www.evil.example",
    "a reference": "[RAVEN][1] [1]: http://evil.example",
    "emphasis": "**RAVEN** __RAVEN__ ~~RAVEN~~ `RAVEN`",
    "a cell": "RAVEN | 99.9 | **99.9** |",
    "a heading": "## Scoring",
    "a heading behind a word": "x ## Scoring",
    "a citation": "[@raven] [@raven; @holm] @raven",
    "mathematics": "$x_1^2$ and $$y$$",
    "mathematics that is broken": "$\\frac{$ and $\\moon$",
    "a block of code": "```{=latex} \\input{x} ```",
    # LaTeX and BibTeX
    "a command": "\\input{/etc/passwd}",
    "a command that writes": "\\immediate\\write18{rm -rf x}",
    "an end of a table": "\\\\ \\end{tabular} \\begin{tabular}",
    "a comment in LaTeX": "100% RAVEN",
    "every special character": "& % $ # _ { } ~ ^ \\ < > |",
    "open braces": "}}} {{{ }",
    "an entry": "x}, } @misc{evil, note = {x",
    "a caret notation": "^^5cinput",
    # plain, but not Latin
    "a joiner": "\u0645\u06cc\u200c\u0631\u0648\u062f",
    "an emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "combining marks": "Z\u0351\u036b\u0343a\u0357l\u030bg\u0321o\u0315",
}
"""Texts that are taken."""

REFUSED = {
    "a line break": "RAVEN\n## Scoring",
    "a carriage return": "RAVEN\rEVIL",
    "a tab before a formula": "\t=1+1",
    "a null": "RAVEN\0",
    "colours of a terminal": "\x1b[31mRAVEN\x1b[0m",
    "a title of the terminal": "\x1b]0;evil\x07",
    "a backspace": "EVIL\b\b\b\bRAVEN",
    "a line separator": "RAVEN\u2028EVIL",
    "a next line": "RAVEN\x85EVIL",
    "an override": "RAVEN \u202enevar",
    "an isolate": "\u2066RAVEN\u2069",
    "half a character": "\ud83d",
    "nothing": "",
    "blanks": " \u3000\u00a0 ",
    "201 characters": "x" * 201,
}
"""Texts that are refused where they are read."""
