"""A prompt list of one's own is read strictly: every error is one message with file and line."""

import ast
import json
import re
from pathlib import Path

import pytest

from evaluation import dimensions
from evaluation.prompt_lists import LIST_RULES, TOYBOX_WORD, read_user_list
from evaluation.prompts import list_notices
from evaluation.records import Prompt
from evaluation.text_only_dimensions import ON_REQUEST, TEXT_ONLY, TEXT_ONLY_CONTROLS, VBENCH_FACTS
from evaluation.toybox import controls
from evaluation.toybox.captions import caption, extended_caption
from evaluation.toybox.controls import control_frames
from evaluation.toybox.suite import toybox_prompts

ROOT = Path(__file__).parents[2]
QUALITATIVE = ROOT.parent / "shared" / "prompts" / "qualitative_100.txt"
TOYBOX, VBENCH = LIST_RULES["toybox"], LIST_RULES["vbench"]
RED = "a red circle moving left on meadow"
BLUE = "a blue square moving right on desert"


def read(
    text: str, name: str = "mine.csv", benchmark: str = "vbench", samples: int | None = None
) -> list[Prompt]:
    return read_user_list(text.encode(), name, LIST_RULES[benchmark], samples)


def test_the_forms_say_the_same() -> None:
    """Guards against a form that drops or reorders something: the same two prompts, four times."""
    rows = [
        ("a", "A cat, asleep", 3, "A cat sleeps on a mat", 2),
        ("b_2", 'The "old" man\'s boat', 1, "A boat", 1),
    ]
    quoted = [[str(cell).replace('"', '""') for cell in row] for row in rows]
    header = ["id", "prompt", "samples", "extended", "keep"]
    csv_text = "\n".join([", ".join(header), *(", ".join(f'"{cell}"' for cell in row) for row in quoted)])
    tsv_text = "\n".join(["\t".join(header), *("\t".join(f'"{cell}"' for cell in row) for row in quoted)])
    json_text = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows)
    lists = [read(csv_text), read(tsv_text, "mine.tsv"), read(json_text, "mine.jsonl"), read(csv_text + "\n")]
    lists += [read("\ufeff" + csv_text.replace("\n", "\r\n") + "\r\n")]  # as spreadsheets save it
    assert all(one == lists[0] for one in lists)
    assert [(p.id, p.prompt, p.samples, p.extended, p.keep) for p in lists[0]] == rows
    assert {p.dimensions for p in lists[0]} == {TEXT_ONLY["vbench"]}
    plain = read("A cat, asleep\nThe old man's boat\n", "mine.txt", samples=2)
    assert [(p.id, p.prompt, p.extended, p.samples) for p in plain] == [
        ("p0000", "A cat, asleep", "A cat, asleep", 2),
        ("p0001", "The old man's boat", "The old man's boat", 2),
    ]


ERRORS: list[tuple[str, str, str]] = [
    ("mine.csv", "id,prompt,samples\na,one,1\na,two,1", "line 3: id 'a' is already that of line 2"),
    ("mine.csv", "id,prompt,samples\na,one,1\nb,one ,1", "line 3: the prompt is the same as in line 2"),
    ("mine.csv", "id,prompt,samples\na,  ,1", "line 2: prompt is empty"),
    ("mine.csv", "id,prompt,samples\nA-1,one,1", r"line 2: id is 'A-1', expected 1 to 120 of the characters"),
    ("mine.csv", "id,prompt,samples\n../x,one,1", r"line 2: id is '\.\./x'"),
    ("mine.csv", "id,prompt,samples\n,one,1", "line 2: id is ''"),
    ("mine.csv", f"id,prompt,samples\n{'x' * 121},one,1", "line 2: id is 'xxx"),
    ("mine.csv", "id,prompt,samples\na,one,0", "line 2: samples is 0, expected a whole number from 1"),
    ("mine.csv", "id,prompt,samples\na,one,", "line 2: samples is ''"),
    ("mine.csv", "id,prompt,samples\na,one,-1", "line 2: samples is '-1'"),
    ("mine.csv", "id,prompt,samples\na,one,2.0", r"line 2: samples is '2\.0'"),
    ("mine.csv", "id,prompt,samples,keep\na,one,2,3", "line 2: keep is 3, but only 2 samples"),
    (
        "mine.csv",
        "id,prompt,sampels\na,one,1",
        "line 1: column 'sampels' is unknown; the columns are id, prompt, samples",
    ),
    ("mine.csv", "id,prompt,samples,facts\na,one,1,{}", "'facts' is unknown.* needs .jsonl"),
    ("mine.csv", "id,prompt,samples,id\na,one,1,b", "column 'id' appears twice"),
    ("mine.csv", "id,samples\na,1", "line 1: column 'prompt' is missing"),
    ("mine.csv", "id,prompt\na,one", "line 2 has no samples"),
    ("mine.csv", "id,prompt,samples\na,one, two,1", "line 2 has 4 cells, expected 3"),
    ("mine.csv", "id,prompt,samples\n\na,one,1", "line 2 has 0 cells"),
    ("mine.csv", 'id,prompt,samples\na,"one "two",1', "line 2 cannot be read"),
    (
        "mine.csv",
        'id,prompt,samples\na,"one\ntwo",1\n',
        r"line 2: prompt holds the control character '\\n'",
    ),
    ("mine.csv", 'id,prompt,samples\na,"one\n', "line 2 cannot be read"),
    (
        "mine.csv",
        "id,prompt,samples,extended\na,one,1,",
        "line 2: extended is empty; .* take the whole column out",
    ),
    (
        "mine.csv",
        "id,prompt,samples,dimensions\na,one,1,color",
        "line 2: dimension 'color' cannot be scored with no facts",
    ),
    ("mine.csv", "id,prompt,samples,dimensions\na,one,1,scary", "line 2: dimension 'scary'"),
    ("mine.csv", "id,prompt,samples\n", "holds no prompt"),
    ("mine.csv", "", "holds no prompt"),
    ("mine.jsonl", '{"id": "a", "prompt": "one", "samples": true}', "line 1: samples is True"),
    ("mine.jsonl", '{"id": "a", "prompt": "one", "samples": 1}\n{', "line 2 cannot be read as JSON"),
    ("mine.jsonl", '{"id": "a", "prompt": "one", "samples": 1}\n\n', "line 2 cannot be read as JSON"),
    ("mine.jsonl", '["a"]', "line 1 is no JSON object"),
    (
        "mine.jsonl",
        '{"id": "a", "id": "b", "prompt": "one", "samples": 1}',
        "line 1 cannot be read as JSON .the key 'id' appears twice",
    ),
    ("mine.jsonl", '{"id": "a", "prompt": 3, "samples": 1}', "line 1: prompt is 3, expected text"),
    ("mine.jsonl", '{"id": "a", "prompt": "one", "samples": 1, "facts": []}', "line 1: facts is"),
    (
        "mine.jsonl",
        '{"id": "a", "prompt": "one", "samples": 1, "facts": {"lines": [1]}}',
        "line 1: facts has the key 'lines'",
    ),
    (
        "mine.jsonl",
        '{"id": "a", "prompt": "one", "samples": 1, "dimensions": "color"}',
        "line 1: dimensions is 'color'",
    ),
    ("mine.xlsx", "PK", r"ends in \.xlsx, expected one of \.csv, \.tsv, \.jsonl, \.txt"),
]


@pytest.mark.parametrize(("name", "text", "message"), ERRORS)
def test_errors_are_one_message_with_the_line(name: str, text: str, message: str) -> None:
    """Guards against a list that is half read, and against an error that shows in the two-hundredth job."""
    with pytest.raises(ValueError, match=message) as caught:
        read(text, name)
    sentence = str(caught.value)
    assert sentence.startswith("mine.")
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_a_byte_that_is_not_utf8() -> None:
    """Guards against a list saved as Latin-1, whose letters would be replaced or raise without a line."""
    with pytest.raises(ValueError, match=r"mine\.csv line 3 has a byte that is not UTF-8 \(0xe9\)"):
        read_user_list(b"id,prompt,samples\na,one,1\nb,caf\xe9,1\n", "mine.csv", VBENCH, None)


def test_samples_are_said_once() -> None:
    """Guards against a number in the suite that the list overrules in silence."""
    with pytest.raises(ValueError, match="gives samples, and so does"):
        read("id,prompt,samples\na,one,1", samples=3)
    assert [p.samples for p in read("id,prompt\na,one", samples=3)] == [3]
    with pytest.raises(ValueError, match="has no samples"):
        read("one\n", "mine.txt")


def test_words_the_embedded_world_does_not_know() -> None:
    """Guards against a prompt that stops the sampler, a stage and a training later."""
    assert read(f"id,prompt,samples\na,{RED},1", benchmark="toybox")[0].prompt == RED
    for column, rest in (("prompt", f"A Red Giraffe,1,{RED}"), ("extended", f"{RED},1,a giraffe")):
        with pytest.raises(ValueError, match=f"line 2: .* word 'giraffe' of {column}"):
            read(f"id,prompt,samples,extended\na,{rest}", benchmark="toybox")
    with pytest.raises(ValueError, match=r"word '\.' of prompt"):
        read(f"id,prompt,samples\na,{RED}.,1", benchmark="toybox")
    with pytest.raises(ValueError, match=r"33 words, .* at most 32"):
        read(f"id,prompt,samples\na,{' '.join(['red'] * 33)},1", benchmark="toybox")


def test_words_are_cut_as_the_text_encoder_cuts_them() -> None:
    """Guards against two rules for one thing: `evaluation` may not import `models`, so that it has its own
    copy.
    """
    from models.text import split_words

    for text in (
        "A red circle, moving-left on 2 meadows.",
        "caf\u00e9 it's",
        caption(toybox_prompts(0)[3].facts),
    ):
        assert TOYBOX_WORD.findall(text.lower()) == split_words(text)


def test_facts_allow_the_dimensions_that_need_them() -> None:
    """A list of the suite's own captions and facts may be scored as the suite does, and not otherwise."""
    suite = toybox_prompts(0)
    lines = [
        json.dumps(
            {
                "id": p.id,
                "prompt": caption(p.facts),
                "extended": extended_caption(p.facts),
                "samples": p.samples,
                "keep": p.keep,
                "dimensions": list(p.dimensions),
                "facts": p.facts,
            }
        )
        for p in suite
    ]
    assert read("\n".join(lines), "own.jsonl", "toybox") == suite
    still = json.loads(lines[0]) | {"dimensions": ["human_action"]}
    with pytest.raises(ValueError, match="'human_action' cannot be scored with these facts"):
        read(json.dumps(still), "own.jsonl", "toybox")
    still["facts"] = {"objects": []}
    with pytest.raises(ValueError, match="line 1: Toybox facts have the keys"):
        read(json.dumps(still), "own.jsonl", "toybox")
    cat = {
        "id": "a",
        "prompt": "a red cat",
        "samples": 1,
        "facts": {"color": {"color": "red"}},
        "dimensions": ["color"],
    }
    assert read(json.dumps(cat), "own.jsonl")[0].dimensions == ("color",)
    with pytest.raises(ValueError, match="'scene'"):
        read(json.dumps(cat | {"dimensions": ["scene"]}), "own.jsonl")


def test_toybox_dimensions_without_facts_are_those_whose_scorers_read_none() -> None:
    """Guards against a scorer that starts to read facts, and then fails on every list without them."""
    free = set()
    for path in sorted((ROOT / "evaluation/toybox/scorers").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        body = found["score"].body
        if not any(isinstance(n, ast.Name) and n.id == "facts" for part in body for n in ast.walk(part)):
            free.add(path.stem)
    assert free == {*TEXT_ONLY["toybox"], *ON_REQUEST["toybox"]}
    named = {*TEXT_ONLY["vbench"], *ON_REQUEST["vbench"], *VBENCH_FACTS, "human_action"}
    assert named == set(dimensions.NAMES)


def test_controls_without_facts() -> None:
    """Guards against a control row that dies on a list without facts after other rows were sampled."""
    bare = read(f"id,prompt,samples\na,{RED},1\nb,{BLUE},1", benchmark="toybox")
    for name in controls.TOYBOX_CONTROLS:
        if name in TEXT_ONLY_CONTROLS:
            assert control_frames(name, bare, bare[0], 0).shape[0] == 81
        else:
            with pytest.raises(ValueError, match=r"facts"):
                control_frames(name, bare, bare[0], 0)


def test_the_qualitative_set() -> None:
    """RAVEN's list: 100 prompts, one clip each, readable as it is."""
    if not QUALITATIVE.is_file():
        pytest.skip(f"{QUALITATIVE} is absent; the list is fetched, not shipped")
    prompts = read_user_list(QUALITATIVE.read_bytes(), QUALITATIVE.name, VBENCH, 1)
    assert [p.id for p in prompts] == [f"p{i:04d}" for i in range(100)]
    assert {p.dimensions for p in prompts} == {TEXT_ONLY["vbench"]}
    assert sum(p.samples for p in prompts) == 100
    assert all(re.search("[a-z]", p.prompt) for p in prompts)
    assert any("no extended text" in notice for notice in list_notices(prompts, named_by_prompt=True))
