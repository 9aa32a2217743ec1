"""Text, JSON, SARIF and HTML: pure functions of one record."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from inputgrad.report import audit_html, audit_json, audit_sarif, audit_text
from inputgrad.report.plain_text import record_in
from tests.audit.audit_runs import finding, place, record

EVIL = "<script>alert('x')</script>"


def test_the_text_as_it_stands():
    shown = audit_text.render(record(finding(), finding("IG301", "warning", measured="", write="", related=())), report="audit.html")
    assert shown == (
        "train.py:12  IG101  error   the input gradient computed here carries no graph\n"
        "                            (backward without create_graph=True); the loss term\n"
        "                            made from it changes no parameter.\n"
        "                            measured: ‖∂term/∂θ‖ = 0 now, 1.16 with a graph\n"
        "        write:    input_grad, = torch.autograd.grad(output.sum(), input_tensor,\n"
        "                      create_graph=True)\n"
        "train.py:12  IG301  warning the input gradient computed here carries no graph\n"
        "                            (backward without create_graph=True); the loss term\n"
        "                            made from it changes no parameter.\n"
        "\n"
        "1 error, 1 warning in 3 steps; report: audit.html\n"
    )


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("file", ["t.py", "src/some/package/with/a/long/name/training_loop_of_the_critic.py"])
def test_no_line_is_wider_than_the_terminal(width, file):
    shown = audit_text.render(record(finding(place=place(file=file)), notes=("a note " * 20,)), width)
    lines = shown.splitlines()
    assert max(len(line) for line in lines if " " in line.strip() and file not in line) <= width
    assert all(len(line) <= width or " " not in line.strip().split("  ")[0] for line in lines)


def test_control_characters_are_harmless():
    shown = audit_text.render(record(finding(message="a\x1b[31mb\rc", write="x\x1b]0;y\x07")))
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "nothing found in 3 steps\n"),
        ({"ending": "script", "steps": 1, "status": 4}, "nothing found in 1 step (the script ended by itself, with status 4)"),
        ({"ending": "raised", "raised": "KeyError: 'a'"}, "nothing found in 3 steps, then the script raised KeyError: 'a'"),
        ({"steps": 0, "ending": "script"}, "no optimiser step was seen"),
        ({"gradients": 0}, "no input gradient was taken in the 3 steps watched"),
    ],
)
def test_the_closing_line_says_how_many_steps_were_seen(changes, says):
    for text in (audit_text.render(record(**changes)), audit_html.render(record(**changes))):
        assert says.strip() in " ".join(text.replace("&#39;", "'").split())


def test_json_holds_everything():
    data = json.loads(audit_json.render(record(finding(), finding(suppressed="comment", reason="so"), finding("IG301", "note", measured=""))))
    assert data["counts"] == {"error": 1, "warning": 0, "note": 1}
    assert [item["code"] for item in data["findings"]] == ["IG101", "IG301"]
    assert data["findings"][0]["related"] == [{"file": "train.py", "line": 34, "function": "main", "source": "loss = mse + 0.1 * g.norm()"}]
    assert data["findings"][1]["measured"] is None
    assert [(item["by"], item["reason"]) for item in data["suppressed"]] == [("comment", "so")]


def test_json_is_one_line():
    assert audit_json.render(record(finding(message="a\nb"))).count("\n") == 1


def log(*found, **changes):
    data = json.loads(audit_sarif.render(record(*found, **changes)))
    (run,) = data["runs"]
    return data, run


def test_sarif_has_what_the_specification_requires():
    """Sections 3.13, 3.14, 3.19, 3.20, 3.27, 3.28, 3.29, 3.30, 3.49 of SARIF 2.1.0."""
    hidden = (finding(suppressed="comment", reason="so"), finding(suppressed="baseline"))
    data, run = log(finding(), finding("IG301", "warning"), *hidden, pages=(("IG101", "# a page"),))
    assert set(data) == {"$schema", "version", "runs"}
    assert data["version"] == "2.1.0"
    driver = run["tool"]["driver"]
    assert driver["name"] == "inputgrad audit"
    assert [rule["id"] for rule in driver["rules"]] == ["IG101", "IG301"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in driver["rules"])
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (where,) = result["locations"]
        assert where["physicalLocation"]["artifactLocation"] == {"uri": "train.py", "uriBaseId": "%SRCROOT%"}
        assert where["physicalLocation"]["region"]["startLine"] >= 1
        assert [other["id"] for other in result["relatedLocations"]] == [1]
    assert [[item["kind"] for item in result.get("suppressions", [])] for result in run["results"]] == [[], [], ["inSource"], ["external"]]
    prints = [result["partialFingerprints"]["lineContent/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_validates_against_the_schema():
    """Where SARIF_SCHEMA names the file of the standard's schema (OASIS, sarif-schema-2.1.0.json), which is not copied here."""
    jsonschema = pytest.importorskip("jsonschema")
    path = os.environ.get("SARIF_SCHEMA")
    if not path:
        pytest.skip("SARIF_SCHEMA names no file with the schema of SARIF 2.1.0")
    schema = json.loads(Path(path).read_text())
    elsewhere = finding("IG301", "warning", place=place(0, "", "/elsewhere/a b.py"))
    everything = [finding(), elsewhere, finding(suppressed="comment"), finding(suppressed="baseline")]
    for data, _ in (log(), log(*everything, notes=("n",), ending="raised", raised="KeyError", status=1)):
        jsonschema.validate(data, schema)
    data["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)


def test_a_line_moved_keeps_its_fingerprint():
    (_, before), (_, after) = log(finding()), log(finding(place=place(99)))
    assert before["results"][0]["partialFingerprints"] == after["results"][0]["partialFingerprints"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_html_is_escaped_everywhere():
    texts = {"name": EVIL, "message": EVIL, "measured": EVIL, "write": EVIL, "reason": EVIL}
    evil = finding(**texts, place=place(code=EVIL), related=(place(code=EVIL, file=EVIL),), suppressed="")
    hidden = finding(name=EVIL, message=EVIL, place=place(code=EVIL, file=EVIL), suppressed="comment", reason=EVIL)
    page = audit_html.render(record(evil, hidden, command=(EVIL,), notes=(EVIL,), pages=(("IG101", EVIL),), ending="raised", raised=EVIL))
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.found
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 12
    assert audit_html.MARK in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_equal_records_give_equal_pages():
    assert audit_html.render(record(finding())) == audit_html.render(record(finding()))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "no such encoding"])
def test_every_letter_of_the_text_can_be_shown(encoding):
    told = finding(message="‖g‖ → 0 … größer", measured="√N ≈ 3", write="x² − 1", place=place(file="modèle.py"))
    known = "ascii" if encoding.startswith("no") else encoding
    shown = audit_text.render(record_in(record(told, raised="Ошибка", ending="raised"), encoding))
    assert shown.encode(known).decode(known) == shown
    assert "||g||" in shown or "‖g‖" in shown
    assert record_in(record(told), "utf-8") == record(told)


def test_a_change_that_two_findings_share_is_shown_once_and_one_that_reads_alike_elsewhere_again():
    diff = "- g = x.grad.clone()\n+ g, = torch.autograd.grad(output.sum(), x, create_graph=True)"
    shown = audit_text.render(record(finding(write=diff), finding("IG201", write=diff, place=place(13)), finding(write=diff, place=place(90))))
    assert shown.count("- g = x.grad.clone()") == 2
    assert " ".join(shown.split()).count("the change shown for IG101 above, which mends both") == 1
