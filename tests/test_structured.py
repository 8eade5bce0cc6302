"""Answers by a schema or a pattern: what is read, and that answers keep to it wherever they are generated."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from tests.schemas import random_schema
from tests.tiny import make_interleave
from vipcli.api import load
from vipcli.asking.grammars import columns, parse_fields, read_grammar
from vipcli.asking.interface import Grammar, Reply, Request, Sampling, Setup
from vipcli.asking.short_schemas import parse_short_schema
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine.generation import ProbabilityRecorder
from vipcli.engine.local import LocalModel
from vipcli.errors import UsageError
from vipcli.serving.protocol import pack_request, unpack_request

WORDS = Grammar("pattern", "(red|green|blue)( and (red|green|blue)){0,2}")
ARRAY = Grammar("schema", '{"type": "array", "items": {"enum": [1, "a", null]}, "maxItems": 4}')


@pytest.fixture(scope="module")
def bundled() -> LocalModel:
    return LocalModel(lookup.find("bundled"))


def request(grammar: Grammar | None, sampling: Sampling | None = None, seed: int = 0, **more: Any) -> Request:
    picture = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    prompt = lookup.find("bundled").form().build([Turn("What is this?")])
    return Request(prompt, (picture,), sampling=sampling or Sampling(60), grammar=grammar, **more)


# ---------------------------------------------------------------------- reading


def test_the_short_form() -> None:
    text = (
        "color: str, count?: int, at: {x: float, y: float}, "
        """kind: red|'dark red'|3|null, "my size": [bool]|int"""
    )
    assert parse_short_schema(text) == {
        "type": "object",
        "properties": {
            "color": {"type": "string"},
            "count": {"type": "integer"},
            "at": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                "required": ["x", "y"],
                "additionalProperties": False,
            },
            "kind": {"enum": ["red", "dark red", 3, None]},
            "my size": {"anyOf": [{"type": "array", "items": {"type": "boolean"}}, {"type": "integer"}]},
        },
        "required": ["color", "at", "kind", "my size"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The schema has no fields. Write it as in color: str, count: int, open: bool."),
        ("color", "The schema needs a colon and a type after 'color' at its end."),
        ("color:", "The schema needs a type at its end."),
        ("color: red", "The schema has no type 'red'. The types are str, int, float, bool; words to choose"),
        ("a: str b: int", "The schema needs a comma before the next field where it has 'b: int'."),
        ("a: [str", "The schema needs ] after the type of the list's entries at its end."),
        ("a: {x: int", "The schema needs a comma before the next field, or } at its end."),
        ("a: int, a: str", "The schema has two fields 'a'. Give them different names."),
        ("a: str,", "The schema needs the name of a field at its end."),
        ("a: red|red", "The schema has the same word twice"),
        ("a: €", "The schema cannot be read from '€' on."),
        ("a: " + "[" * 60, "The schema is nested more than 50 levels deep."),
    ],
)
def test_a_wrong_short_form_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_short_schema(text)
    assert str(caught.value).startswith(message)


class Sign(BaseModel):
    word: str
    big: bool = False


def test_a_schema_has_many_forms(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    forms = [schema, json.dumps(schema), str(file), file]
    assert {read_grammar(form) for form in forms} == {Grammar("schema", json.dumps(schema))}
    assert columns(read_grammar(schema)) == ("b", "a")
    assert columns(read_grammar(Sign)) == ("word", "big")
    assert columns(read_grammar({"type": "integer"})) == columns(read_grammar(pattern="a")) == ()
    assert read_grammar() is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schema": "a: int", "pattern": "a"}, "An answer follows a schema or a pattern, not both."),
        ({"pattern": ""}, "The pattern is empty."),
        ({"pattern": "[a"}, "The pattern cannot be used: unclosed character class."),
        ({"pattern": r"\bno"}, "The pattern cannot be used: lookarounds not supported yet"),
        ({"pattern": 5}, "A pattern is text, not int."),
        ({"schema": 5}, "A schema is text, a mapping, a path or a pydantic model, not int."),
        ({"schema": "missing.json"}, "The schema 'missing.json' cannot be read: No such file"),
        ({"schema": '{"type": '}, "The schema is not valid JSON (Expecting value"),
        ({"schema": {"type": "word"}}, "The schema cannot be used: Invalid type: word."),
        ({"schema": {"not": {}}}, 'The schema cannot be used: Unimplemented keys: ["not"].'),
        ({"schema": {"$ref": "http://a/b"}}, "The schema cannot be used: Resource 'http://a/b'"),
        ({"schema": {"enum": []}}, "The schema cannot be used: Unsatisfiable schema"),
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_grammar(**given)
    assert str(caught.value).startswith(message)


def test_fields_that_a_schema_does_not_name_are_left_out(bundled: LocalModel) -> None:
    inner = {"type": "object", "properties": {"b": {"const": 1}}, "required": ["b"]}
    schema = {"properties": {"a": {"anyOf": [inner, inner]}}, "required": ["a"], "type": "object"}
    assert bundled.answer(request(read_grammar(schema))).text == '{"a": {"b": 1}}'
    # Here each part must allow the fields of the other.
    other = {"type": "object", "properties": {"c": {"const": 2}}, "required": ["c"]}
    assert read_grammar({"allOf": [inner, other]})
    assert read_grammar({**inner, "anyOf": [other]})


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"need llguidance. Run pip install 'vipcli\[structured\]'.$"):
        read_grammar("a: int")
    monkeypatch.undo()
    assert importlib.util.find_spec("llguidance")


def test_what_was_cut_off_has_no_fields() -> None:
    schema = read_grammar("a: int")
    assert parse_fields(schema, '{"a": 1}', is_whole=True) == {"a": 1}
    assert parse_fields(schema, '{"a": 1}', is_whole=False) is None
    assert parse_fields(schema, '{"a": ', is_whole=True) is None
    assert parse_fields(WORDS, "3", is_whole=True) is None


# ---------------------------------------------------------------------- answering


def check_schema(model: LocalModel, number: int) -> Reply:
    """Ask by a random schema, greedily or at random in turn; a whole answer must fit it."""
    schema = random_schema(random.Random(number))
    grammar = read_grammar(schema)
    reply = model.answer(request(grammar, Sampling(200, float(number % 2), seed=number)))
    fields = parse_fields(grammar, reply.text, is_whole=reply.ended == "stop")
    if reply.ended == "stop":
        Draft202012Validator(schema).validate(json.loads(reply.text))
        assert fields == json.loads(reply.text)
    else:
        assert fields is None
    return reply


def test_answers_fit_a_dozen_schemas(bundled: LocalModel) -> None:
    replies = [check_schema(bundled, number) for number in range(12)]
    assert sum(reply.ended == "stop" for reply in replies) >= 8


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_answers_fit_three_hundred_schemas(bundled: LocalModel) -> None:
    replies = [check_schema(bundled, number) for number in range(300)]
    whole = sum(reply.ended == "stop" for reply in replies)
    print(f"{whole} of 300 answers ended by themselves, and all of these fit")
    assert whole >= 200


def test_an_answer_matches_its_pattern_as_a_whole(bundled: LocalModel) -> None:
    for pattern in ("red|green", "[0-9]{3}/[a-z]{2}", "é{3}漢", "^#{1,4}!$", "(?i)no", "a*"):
        reply = bundled.answer(request(read_grammar(pattern=pattern)))
        assert reply.ended == "stop"
        assert re.fullmatch(pattern, reply.text)


def test_a_word_that_ends_answers_ends_none_before_it_is_whole(bundled: LocalModel) -> None:
    # For the bundled model, ### is both.
    reply = bundled.answer(request(Grammar("schema", '{"const": "###Human: ###"}')))
    assert (reply.text, reply.ended) == ('"###Human: ###"', "stop")


def test_the_probability_leaves_out_tokens_without_a_choice() -> None:
    recorder = ProbabilityRecorder()
    for scores, token in (([0.0, 0.0, -math.inf], 0), ([-math.inf, 0.0, -math.inf], 1)):
        recorder(torch.zeros(1, 1), torch.tensor([scores]))
        recorder.choose(torch.tensor([token]))
    assert recorder.mean(0, 2) == 0.75
    assert recorder.mean(0, 2, [False, True]) == 0.5
    assert recorder.mean(0, 2, [True, True]) == 1
    assert recorder.mean(0, 0) is None


def test_a_batch_may_have_a_grammar_for_each_row(bundled: LocalModel) -> None:
    asked = [request(grammar, seed=seed) for seed, grammar in enumerate([WORDS, None, ARRAY, None, WORDS])]
    together = bundled.answer_batch(asked)
    alone = [bundled.answer(one) for one in asked]
    assert [reply.token_ids for reply in together] == [reply.token_ids for reply in alone]
    assert all(reply.ended == "stop" for reply in together)


def test_a_grammar_changes_no_answer_that_fits_it(bundled: LocalModel) -> None:
    free = bundled.answer(request(None))
    bound = bundled.answer(request(Grammar("pattern", r"[\s\S]*")))
    assert bound.token_ids == free.token_ids
    assert bound.probability == pytest.approx(free.probability, abs=1e-3)


def test_sampled_answers_fit_and_depend_on_the_seed_only(bundled: LocalModel) -> None:
    answers = [bundled.answer(request(WORDS, Sampling(60, 3.0, seed=seed % 6))).text for seed in range(12)]
    assert answers[:6] == answers[6:]
    assert len(set(answers)) > 1
    assert all(re.fullmatch(WORDS.text, answer) for answer in answers)


def test_a_static_cache_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = lookup.find("bundled")
    static, dynamic = LocalModel(checkpoint, resident=True), LocalModel(checkpoint)
    monkeypatch.setattr(static, "_compiles", True)
    for asked in (request(WORDS), request(ARRAY, seed=1)):
        assert static.answer(asked).token_ids == dynamic.answer(asked).token_ids
    assert static.compiles


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantized_models_keep_to_grammars(quantize: str) -> None:
    model = LocalModel(lookup.find("bundled"), Setup(device="cpu", quantize=quantize))
    reply = model.answer(request(WORDS))
    assert reply.ended == "stop"
    assert re.fullmatch(WORDS.text, reply.text)


def test_other_tokenizers_keep_to_grammars(tiny_llava: Path, tmp_path: Path) -> None:
    # Byte-level tokens as in Qwen; its prompts end in a line break.
    for folder in (tiny_llava, make_interleave(tmp_path / "interleave")):
        checkpoint = lookup.find(str(folder))
        model, form = LocalModel(checkpoint), checkpoint.form()
        asked = [
            Request(form.build([Turn("What?")]), request(None).images, sampling=Sampling(80), grammar=grammar)
            for grammar in (WORDS, ARRAY)
        ]
        words, array = model.answer_batch(asked)
        assert re.fullmatch(WORDS.text, words.text)
        assert array.ended == "stop"
        Draft202012Validator(json.loads(ARRAY.text)).validate(json.loads(array.text))


def test_an_answer_that_is_cut_off_says_so() -> None:
    model = load("bundled", no_server=True)
    cut = model.ask("samples/shapes.png", "What?", schema="a: str, b: str", max_new_tokens=5)
    assert (cut.reply.ended, cut.fields, cut.record()["fields"]) == ("length", None, None)
    assert "The answer was cut off after 5 tokens, so it is not whole JSON." in " ".join(cut.notes)
    whole = model.ask("samples/shapes.png", "What?", schema={"enum": [{"a": 1}]})
    assert whole.fields == whole.record()["fields"] == {"a": 1}
    assert whole.record()["schema"] == {"enum": [{"a": 1}]}
    assert not whole.is_cut_off


def test_many_tasks_share_a_schema() -> None:
    model = load("bundled", no_server=True)
    tasks = [{"picture": "samples/shapes.png"}, {"picture": "samples/fruit.png"}]
    answers = list(model.ask_many(tasks, schema="color: red|green, n: 1|2"))
    assert all(answer.fields["color"] in ("red", "green") for answer in answers)  # type: ignore[union-attr]


# ---------------------------------------------------------------------- between processes


def test_a_grammar_travels_with_its_request() -> None:
    asked = request(ARRAY)
    assert unpack_request(pack_request(asked)).grammar == ARRAY
    assert unpack_request(pack_request(request(None))).grammar is None


@pytest.mark.parametrize("change", [{"kind": "poem"}, {"text": 5}, {"more": 1}])
def test_a_grammar_is_checked_on_arrival(change: dict[str, Any]) -> None:
    head, _, pixels = pack_request(request(ARRAY)).partition(b"\n")
    header = json.loads(head)
    header["grammar"].update(change)
    with pytest.raises(UsageError, match="The request cannot be read"):
        unpack_request(json.dumps(header).encode() + b"\n" + pixels)


def test_the_engine_refuses_a_grammar_that_it_cannot_read(bundled: LocalModel) -> None:
    with pytest.raises(UsageError, match="The pattern cannot be used: unclosed group"):
        bundled.answer(request(Grammar("pattern", "(a")))
