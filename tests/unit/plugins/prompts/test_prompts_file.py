"""Prompts that a user wrote: what is read, what is used, and what is said where the file is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.dataset import DatasetInfo
from fgl.errors import DataError
from fgl.plugins.prompts.options import PromptsFileOptions
from fgl.plugins.prompts.prompts_file import PromptsFile
from fgl.testing.contracts import DrawnImages, client_context


def client(labels=(0, 0, 0, 1), domains=None):
    return client_context(DrawnImages(np.array(labels, dtype=np.int64), domains))


@pytest.fixture
def ask(tmp_path):
    def call(text, context=None, name="prompts.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return PromptsFile(PromptsFileOptions(path=str(path), **options)).prompts(context or client())

    return call


def test_csv_by_name_or_id_with_defaults(ask):
    prompts = ask('class,prompt\nriver,"a river, wide"\n0,a river at night\nAirplane,an airplane\n')
    assert [(p.class_id, p.text, p.weight, p.negative, p.domain, p.guidance_scale) for p in prompts] == [
        (0, "a river, wide", 1.5, "low quality, low resolution", None, None),
        (0, "a river at night", 1.5, "low quality, low resolution", None, None),
        (1, "an airplane", 1.0, "low quality, low resolution", None, None),
    ]


def test_every_column_of_csv_and_jsonl_means_the_same(ask):
    context = client(domains=["photo", "photo", "sketch", "photo"])
    csv = (
        "label,text,negative,domain,weight,guidance_scale,client\n"
        "river,one,ugly,photo,2,1.5,client-0\nriver,two,,sketch,1,,\n\n1,three,,,,,\n"
    )
    rows = [
        {
            "label": "river",
            "text": "one",
            "negative": "ugly",
            "domain": "photo",
            "weight": 2,
            "guidance_scale": 1.5,
            "client": "client-0",
        },
        {"label": "river", "text": "two", "domain": "sketch", "weight": 1, "client": None},
        {"class": 1, "prompt": "three"},
    ]
    prompts = ask(csv, context)
    assert prompts == ask("\n".join(map(json.dumps, rows)), context, "prompts.jsonl")
    assert prompts == ask("\n".join(map(json.dumps, rows)), context, "prompts.txt", format="jsonl")
    assert [(p.text, p.negative, p.domain, p.weight, p.guidance_scale) for p in prompts] == [
        ("one", "ugly", "photo", 2.0, 1.5),
        ("two", "low quality, low resolution", "sketch", 1.0, None),
        ("three", "low quality, low resolution", None, 1.0, None),
    ]


def test_only_what_the_client_holds_is_used(ask):
    rows = [
        "0,mine,client-0,",
        "0,another's,client-1,",
        "2,not held,,",
        "1,no such domain here,,sketch",
        "1,held,,photo",
    ]
    text = "\n".join(["class,prompt,client,domain", *rows])
    prompts = ask(text, client(domains=["photo", "sketch", "photo", "photo"]))
    assert [p.text for p in prompts] == ["mine", "held"]


def test_spreadsheets_byte_order_mark_and_line_ends_are_read(ask):
    prompts = ask(b"\xef\xbb\xbfclass,prompt\r\nriver,caf\xc3\xa9 by a river\r\nairplane,two\r\n")
    assert prompts[0].text == "café by a river"


def test_a_class_that_is_called_by_a_number_is_found_by_name_first(ask):
    context = replace(client(), class_names=("1", "0"))
    assert [p.class_id for p in ask("class,prompt\n1,first\n0,second\n", context)] == [0, 1]


def test_held_classes_without_a_prompt(ask):
    with pytest.raises(
        DataError, match=r"no prompt for 'airplane', of which client-0 holds images; add rows, or set mis"
    ):
        ask("class,prompt\nriver,a river\n")
    noted = []
    context = replace(client(), note=lambda kind, count: noted.append((kind, count)))
    prompts = ask("class,prompt\nriver,a river\n", context, missing="class-name")
    assert [p.text for p in prompts] == ["a river", "airplane, real world images, high resolution"]
    assert noted == [("classes_without_prompt", 1)]


def test_a_budget_keeps_the_heaviest(ask):
    text = "class,prompt,weight\n" + "".join(f"0,text {n},{n}\n" for n in range(1, 9)) + "1,other,\n"
    prompts = ask(text, max_per_class=2)
    assert [p.text for p in prompts] == ["text 7", "text 8", "other"]
    assert sum(p.weight for p in prompts[:2]) == pytest.approx(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,prompt\nriwer,a\n", r"line 2: class: unknown 'riwer': did you mean 'river'\?"),
        ("class,prompt\nxyzzy,a\n", r"line 2: class: unknown 'xyzzy' \('river', 'airplane'"),
        ("class,prompt\n9,a\n", "line 2: class: got 9; expected an id from 0 to 3, or a name"),
        ("class,prompt\n-1,a\n", "line 2: class: unknown '-1'"),
        ("class,prompt\n0000000001,a\n", "line 2: class: got '0000000001'; expected an id without leading zeros"),
        ("class,prompt\n00,a\n", "line 2: class: got '00'; expected an id without leading zeros, or a name"),
        ("class,prompt\n12345678901234,a\n", "line 2: class: unknown '12345678901234'"),
        ("class,prompt\n,a\n", "line 2: class: is empty"),
        ("class,prompt\nriver,\n", "line 2: prompt: is empty; expected text"),
        ("class,prompt\nriver\n", "line 2: prompt: is empty; expected text"),
        ("class,prompt\nriver,a river, wide\n", "line 2: 3 values, but 2 columns; put quotes around a text"),
        ('class,prompt\nriver,"a river\n', "not CSV"),
        ("class,text,weight\nriver,a,0\n", "line 2: weight: got '0'; expected a number above 0"),
        ("class,text,weight\nriver,a,nan\n", "line 2: weight: got 'nan'; expected a number above 0"),
        ("class,text,guidance_scale\nriver,a,x\n", "line 2: guidance_scale: got 'x'; expected a number from 0 to 100"),
        ("class,text,domain\nriver,a,photo\n", "line 2: domain: got 'photo', but the dataset has no domains"),
        ("prompt\na\n", r"line 1: no column 'class' \(or 'label'\)"),
        ("class,promt\nriver,a\n", r"line 1: unknown column 'promt': did you mean 'prompt'\?"),
        ("class,label,prompt\nriver,river,a\n", "line 1: the column 'class' occurs twice"),
        ("class;prompt\nriver;a\n", "line 1: got the one column 'class;prompt'; expected columns separated by commas"),
        ("", "it holds no prompts"),
        ("\n", "it holds no prompts"),
        ("class,prompt\n", "it holds no prompts"),
        ("class,prompt\nriver,caf\u00e9\n".encode("latin-1"), r"line 2: not UTF-8 .*save the file in the enc"),
        ("class,prompt\nriver,a\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_a_wrong_csv_says_where_and_what_to_do(ask, text, message):
    with pytest.raises(DataError, match=message):
        ask(text, client([0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"class": "river", "prompt": "a"', r"line 1: not JSON \(.*\); expected one object per line"),
        ('\n["river", "a"]', r"line 2: got \['river', 'a'\]; expected an object"),
        ('{"class": "river"}', r"line 1: no column 'prompt' \(or 'text'\)"),
        ('{"class": true, "prompt": "a"}', "line 1: class: got True; expected a class name or id"),
        ('{"class": 7, "prompt": "a"}', "line 1: class: got 7; expected an id from 0 to 3"),
        ('{"class": 0, "prompt": ["a"]}', r"line 1: prompt: got \['a'\]; expected text"),
        ('{"class": 0, "prompt": "a", "weight": "NaN"}', "line 1: weight: got 'NaN'; expected a number above 0"),
        ('{"class": 0, "prompt": "a", "guidance_scale": 1e999}', r"line 1: not JSON \(1e999 is too large a number\)"),
        ('{"class": 0, "prompt": "a", "weight": NaN}', r"line 1: not JSON \(NaN is not JSON\)"),
        ('{"class": 0, "prompt": "a", "colour": 1}', "line 1: unknown column 'colour'"),
        ("[" * 100_000, r"line 1: not JSON \(nested too deeply"),
    ],
)
def test_a_wrong_jsonl_says_where_and_what_to_do(ask, text, message):
    with pytest.raises(DataError, match=message):
        ask(text, client([0]), "prompts.jsonl")


def test_all_problems_are_said_at_once_up_to_twenty(ask):
    with pytest.raises(DataError) as caught:
        ask("class,prompt\n" + "nowhere,a\nriver,\n" * 15)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("prompts.csv: 30 problems:")
    assert lines[1].startswith("  line 2: class: unknown 'nowhere'")
    assert lines[2] == "  line 3: prompt: is empty; expected text"
    assert lines[21] == "  and 10 more"


def test_what_a_thousand_wrong_lines_have_been_said_of_is_read_no_further(ask):
    with pytest.raises(DataError) as caught:
        ask("class,prompt\n" + "nowhere,a\n" * 5000)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("prompts.csv: at least 1000 problems:")
    assert len(lines) == 22


def test_a_domain_that_nobody_has_is_wrong_where_all_are_known(ask):
    context = replace(client(domains=["photo"] * 4), domains=("photo", "sketch"))
    rows = "0,mine,photo\n1,another's,sketch\n1,held,\n"
    assert [p.text for p in ask("class,prompt,domain\n" + rows, context)] == ["mine", "held"]
    with pytest.raises(DataError, match=r"line 5: domain: unknown 'phtoo': did you mean 'photo'\?"):
        ask(f"class,prompt,domain\n{rows}0,typo,phtoo\n", context)
    with pytest.raises(DataError, match=r"line 5: domain: unknown 'xyzzy' \('photo', 'sketch'\)"):
        ask(f"class,prompt,domain\n{rows}0,typo,xyzzy\n", context)


def test_domains_that_a_client_alone_cannot_judge_are_named_and_counted(ask, caplog):
    noted = []
    context = replace(client(domains=["photo"] * 4), note=lambda kind, count: noted.append((kind, count)))
    rows = "0,mine,photo\n0,typo,phtoo\n1,typo,phtoo\n1,another's,sketch\n1,held,\n"
    assert [p.text for p in ask("class,prompt,domain\n" + rows, context)] == ["mine", "held"]
    assert noted == [("prompts_of_other_domains", 3)]
    (record,) = caplog.records
    assert "client-0: 3 prompts are for domains of which it holds no image" in record.getMessage()
    assert "'phtoo' (2), 'sketch' (1); it holds 'photo'" in record.getMessage()


def test_the_whole_file_is_checked_without_a_client(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("class,prompt,domain\nriver,a,photo\nriwer,b,photo\nriver,c,phtoo\n01,d,\n")
    strategy = PromptsFile(PromptsFileOptions(path=str(path)))
    info = DatasetInfo("x", ("river", "airplane"), ("photo",), "")
    with pytest.raises(DataError) as caught:
        strategy.check(info)
    assert str(caught.value).splitlines()[1:] == [
        "  line 3: class: unknown 'riwer': did you mean 'river'?",
        "  line 4: domain: unknown 'phtoo': did you mean 'photo'?",
        "  line 5: class: got '01'; expected an id without leading zeros, or a name",
    ]
    path.write_text("class,prompt,domain\nriver,a,photo\n")
    strategy.check(info)
    with pytest.raises(DataError, match="line 2: domain: got 'photo', but the dataset has no domains"):
        strategy.check(replace(info, domains=()))


def test_a_path_with_a_nul_is_said(tmp_path):
    with pytest.raises(DataError, match=r"path: got 'a\\x00b'; expected a path, which holds no NUL"):
        PromptsFile(PromptsFileOptions(path="a\0b")).prompts(client())


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=f"path: cannot read {path}"):
            PromptsFile(PromptsFileOptions(path=str(path))).prompts(client())


def test_a_client_that_no_row_names_where_rows_name_clients_is_told(ask, caplog):
    noted = []
    context = replace(client(), note=lambda kind, count: noted.append((kind, count)))
    rows = "0,mine,\n1,held,\n0,typo,client_0\n1,another's,hospital\n"
    assert [p.text for p in ask("class,prompt,client\n" + rows, context)] == ["mine", "held"]
    assert noted == [("prompts_of_other_clients", 2)]
    (record,) = caplog.records
    assert "client-0: all 2 prompts of" in record.getMessage()
    assert "such as 'client_0'" in record.getMessage()
    caplog.clear()
    assert len(ask("class,prompt,client\n" + rows + "0,own,client-0\n", context)) == 3
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", '{"class": "river", "prompt": "\\ud83d boat"}\n', "line 1: prompt: holds half of a character"),
        ("p.csv", "class,prompt,weight\nriver,a,1e-30\nriver,b,1e30\n", r"line 2: weight: got 1e-30; .*, 1e\+30"),
        ("p.csv", "class,prompt\nriver,a photo\nairplane,A  Photo\n", "line 3: prompt: class 'airplane' has no prompt"),
    ],
)
def test_what_a_client_could_not_send_is_refused_with_its_line(ask, name, text, said):
    with pytest.raises(DataError, match=said):
        ask(text, name=name)


def test_two_classes_may_share_a_prompt_where_each_has_another(ask):
    assert len(ask("class,prompt\nriver,a photo\nriver,water\nairplane,a photo\nairplane,wings\n")) == 4


def test_every_text_is_told_with_its_line(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('class,prompt,negative\nriver,"two\nlines",ugly\n')
    found = PromptsFile(PromptsFileOptions(path=str(path))).texts(DatasetInfo("x", ("river", "airplane"), (), ""))
    assert found == [(f"{path}, line 3, prompt", "two\nlines"), (f"{path}, line 3, negative", "ugly")]


def test_a_file_names_classes_as_the_data_does_whatever_prompts_call_them(ask):
    context = replace(client(), class_names=("a wide river", "a plane"), label_names=client().class_names)
    prompts = ask("class,prompt\nriver,a river at night\n", context, missing="class-name")
    assert [(prompt.class_id, "a plane" in prompt.text) for prompt in prompts] == [(0, False), (1, True)]


def test_its_grammar_is_what_the_file_has_of_a_class_by_its_name(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("class,prompt,domain\nriver,one,photo\nRiver,two,sketch\nairplane,three,\nriver,one,\n")
    strategy = PromptsFile(PromptsFileOptions(path=str(path)))
    assert strategy.grammar(["river"], []) == [[["one"]]]  # as it is written, before other spellings
    assert strategy.grammar(["RIVER"], []) == [[["two"]]]
    assert strategy.grammar(["river", "airplane"], ["sketch"]) == [[["one", "three"]]]
    assert strategy.grammar(["bird"], []) == []
    filled = PromptsFile(PromptsFileOptions(path=str(path), missing="class-name", template="a {label}"))
    assert filled.grammar(["bird", "airplane"], []) == [[["a bird", "three"]]]
    path.write_text("class,prompt\n0,one\n")
    assert strategy.grammar(["river"], []) == []
    assert strategy.grammar(["0"], []) == [[["one"]]]
    path.write_text("class,text,more\nriver,one,two\n")
    with pytest.raises(DataError, match="unknown column 'more'"):
        strategy.grammar(["river"], [])
    path.unlink()
    assert strategy.grammar(["river"], []) == []
