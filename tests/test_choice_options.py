"""Choices and log-probabilities wherever questions are asked: commands, tasks, Python, and the server."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

import vipcli
from tests import commands
from tests.commands import Ran
from tests.servers import TOKEN, Server, serving
from vipcli.asking.choices import MOST_CHOICES, check_choices, parse_choices, read_choices, yes_no
from vipcli.asking.interface import Reply, Request, TokenLogprob
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN, LONGEST_TEXT
from vipcli.config import Score
from vipcli.errors import ConfigError, ModelError, PromptError, UsageError
from vipcli.serving import openai_api, protocol
from vipcli.serving.openai_schema import UnsupportedFieldError

SHAPES = Path(__file__).parent.parent / "samples" / "shapes.png"
BOX = "8%,36%,31%,66%"
ASK = ("ask", SHAPES, "Which number is {1}?", "--box", BOX, "--no-server", "--device", "cpu")


@pytest.fixture(scope="module")
def model() -> vipcli.Model:
    return vipcli.load("bundled", device="cpu", no_server=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--port", "0") as server:
        yield server


def ran(*arguments: object) -> Ran:
    done = commands.run(*arguments)
    assert done.code == 0, done.err
    return done


# --------------------------------------------------------------------------- which choices there can be


def test_choices_are_separated_by_commas() -> None:
    assert parse_choices("open, closed ,ajar") == ("open", "closed ", "ajar")
    assert check_choices(parse_choices("open, closed ,ajar"), HUMAN) == ("open", "closed", "ajar")
    assert parse_choices('"no, not at all", yes') == ("no, not at all", "yes")
    with pytest.raises(UsageError, match="double quotes"):
        parse_choices('a,"b')
    with pytest.raises(UsageError, match="There are no choices"):
        parse_choices("")


def test_a_file_has_one_choice_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "choices.txt"
    file.write_bytes("\ufeffopen, or so\r\n\n  größer \n".encode())
    assert read_choices(file) == ("open, or so", "größer")
    file.write_text("\n \n")
    with pytest.raises(UsageError, match="holds no choices"):
        read_choices(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_choices(file)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_choices(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (["yes"], "There is only one choice, 'yes'"),
        (["yes", " "], "One of the choices is empty"),
        (["yes", "no", "yes"], "'yes' stands twice"),
        (["Open", "closed", "open."], "'Open' and 'open.' read the same"),
        (["a dog", "A  Dog"], "'a dog' and 'A  Dog' read the same"),
        (["ﬁsh", "fish"], "'ﬁsh' and 'fish' read the same"),
        (["yes", "<image>"], "contains '<image>'"),
        (["yes", "no ###Human: hello"], "contains '###Human'"),
        (["yes", "n\0o"], "control character"),
        (["x" * (LONGEST_TEXT - 1), "yes"], "The choices have 100,002 characters"),
        ([str(number) for number in range(MOST_CHOICES + 1)], "1,001 choices. The limit is 1,000"),
        ("yes", "not a list of texts"),
        (["yes", 7], "not a list of texts"),
    ],
)
def test_choices_that_cannot_be_told_apart_or_asked_are_refused(choices: Any, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        check_choices(choices, HUMAN)


def test_similar_choices_are_not_the_same() -> None:
    choices = ("cat", "catfish", "C", "C++", "-1", "1", "?", "!", "1.5", "15")
    assert check_choices(choices, HUMAN) == choices
    assert len(check_choices([str(number) for number in range(MOST_CHOICES)], HUMAN)) == MOST_CHOICES


def test_only_shares_that_mean_something_raise_doubts(model: vipcli.Model) -> None:
    options = [f"the number {number}" for number in range(10)]

    def notes(score: Score) -> str:
        answer = model.ask(SHAPES, "Which number is {1}?", f"box {BOX}", choices=options, score=score)
        assert answer.probability is not None
        return f"{answer.probability < 0.7} {'not sure' in ' '.join(answer.notes)}"

    assert notes("mean") == "True False"
    assert notes("sum") in ("True True", "False False")


def test_yes_and_no_are_written_as_the_model_writes_them() -> None:
    assert yes_no("bundled") == ("yes", "no")
    assert yes_no("llava-hf/vip-llava-7b-hf") == ("Yes", "No")


# --------------------------------------------------------------------------- vipcli ask


def test_ask_prints_the_likeliest_choice(tmp_path: Path) -> None:
    done = ran(*ASK, "--choices", "6, 7, 8")
    assert done.out == "7\n"
    assert done.err.startswith("note: 7 (>99%), ")
    assert done.err.endswith(" (<1%).\n")
    file = tmp_path / "digits.txt"
    file.write_text("\n".join("0123456789"))
    done = ran(*ASK, "--choices-file", file)
    assert done.out == "7\n"
    assert done.err.endswith(", 5 more.\n")
    assert ran(*ASK, "--choices-file", file, "--quiet").err == ""


@pytest.mark.parametrize(("color", "answer"), [("blue", "yes"), ("purple", "no")])
def test_yes_or_no(color: str, answer: str) -> None:
    colored = ran("ask", SHAPES, "What color is {1}?", *ASK[3:], "--quiet").out.strip()
    question = f"Is {{1}} {colored if answer == 'yes' else color}?"
    assert colored != "purple"
    assert ran("ask", SHAPES, question, *ASK[3:], "--yes-no").out == f"{answer}\n"


@pytest.mark.parametrize("score", ["sum", "mean", "lift"])
def test_the_record_has_every_choice(score: Score) -> None:
    record = json.loads(ran(*ASK, "--choices", "7,9,a green circle", "--score", score, "--json").out)
    assert (record["answer"], record["ended"], record["score"]) == ("7", "stop", score)
    assert [choice["text"] for choice in record["choices"]] == ["7", "9", "a green circle"]
    assert sum(choice["probability"] for choice in record["choices"]) == pytest.approx(1)
    assert record["probability"] == record["choices"][0]["probability"]
    assert all(choice["logprob"] < 0 for choice in record["choices"])
    assert [choice["tokens"] for choice in record["choices"]] == [2, 2, 4]
    keys = {"text", "probability", "logprob", "tokens"}
    assert set(record["choices"][0]) == (keys | {"logprob_without_picture"} if score == "lift" else keys)
    assert "logprobs" not in record


def test_the_record_has_each_token() -> None:
    record = json.loads(ran(*ASK, "--logprobs", "3", "--json").out)
    (token,) = record["logprobs"]
    assert token["token"].strip() == record["answer"] == "7"
    assert math.exp(token["logprob"]) == pytest.approx(record["probability"], abs=1e-3)
    assert [entry["logprob"] for entry in token["top"]] == sorted(
        (entry["logprob"] for entry in token["top"]), reverse=True
    )
    assert token["top"][0] == {name: token[name] for name in ("token", "id", "logprob")}
    assert len(token["top"]) == 3
    chosen = json.loads(ran(*ASK, "--logprobs", "0", "--choices", "7,8", "--json").out)
    assert [token["token"] for token in chosen["logprobs"]] == [" 7"]
    assert chosen["logprobs"][0]["top"] == []
    plain = json.loads(ran(*ASK, "--json").out)
    assert not {"choices", "score", "logprobs"} & set(plain)


def test_the_dry_run_and_the_summary_name_the_choices() -> None:
    planned = json.loads(ran(*ASK, "--choices", "7,8", "--dry-run", "--json").out)
    assert planned["choices"] == ["7", "8"]
    assert "among 2 choices" in ran(*ASK, "--choices", "7,8", "-v").err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--choices", "7,7"), "'7' stands twice"),
        (("--choices", "7"), "only one choice"),
        (("--choices", "7,8", "--yes-no"), "--choices and --yes-no exclude each other"),
        (("--choices-file", "missing.txt"), "'missing.txt' cannot be read"),
        (("--choices", "7,8", "--score", "most"), "--score is 'most', but takes one of sum, mean, lift"),
        (("--logprobs", "21", "--json"), "--logprobs is '21', but takes a whole number from 0 to 20"),
        (("--logprobs", "2"), "Add --json"),
        (("--choices", "7,8", "--schema", "a: int"), "Choices and a schema exclude each other. Leave one"),
        (("--yes-no", "--pattern", "a|b"), "Choices and a pattern exclude each other."),
        (
            ("--choices", "7,8", "--guide"),
            "Choices and guidance exclude each other. Leave one of them out, or",
        ),
    ],
)
def test_mistakes_are_named(options: tuple[str, ...], reason: str) -> None:
    done = commands.run(*ASK, *options)
    assert done.code == 2
    assert reason in done.err


def test_no_guidance_is_no_obstacle() -> None:
    assert ran(*ASK, "--choices", "7,8", "--guide", "0").out.strip() in ("7", "8")


def test_a_batch_refuses_choices_with_a_schema_before_it_begins(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    done = commands.run("batch", SHAPES, "--choices", "7,8", "--schema", "a: int", "-o", rows)
    assert done.code == 2
    assert "Choices and a schema exclude each other." in done.err
    assert not rows.exists()


def test_options_that_do_nothing_are_named() -> None:
    err = ran(*ASK, "--choices", "7,8", "--temperature", "0.5", "--seed", "3").err
    assert "note: --temperature and --seed do nothing with choices.\n" in err
    assert "note: --score does nothing without choices.\n" in ran(*ASK, "--score", "mean").err
    assert "do nothing" not in ran(*ASK, "--choices", "7,8").err


def test_settings_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIPCLI_SCORE", "lift")
    assert json.loads(ran(*ASK, "--choices", "7,8", "--json").out)["score"] == "lift"


# --------------------------------------------------------------------------- vipcli batch


def write_tasks(folder: Path, *tasks: dict[str, Any]) -> Path:
    file = folder / "tasks.jsonl"
    file.write_text("".join(json.dumps({"image": str(SHAPES), "box": BOX, **task}) + "\n" for task in tasks))
    return file


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def batch(*arguments: object) -> Ran:
    return commands.run("batch", *arguments, "--device", "cpu", "--quiet")


def test_rows_have_the_choices_of_the_batch_or_of_their_task(tmp_path: Path) -> None:
    tasks = write_tasks(
        tmp_path,
        {"question": "Which number is {1}?"},
        {"question": "Is {1} a letter?", "choices": ["yes", "no"]},
        {"question": "What is {1}?", "choices": "the number 7, a tree"},
        {"question": "What is {1}?", "choices": ["a tree", "A tree"]},
        {"question": "What is {1}?", "choices": [1, 2]},
        {"question": "What is {1}?", "choices": "[1"},
    )
    out = tmp_path / "rows.jsonl"
    assert batch(tasks, "-o", out, "--choices", "7,8,9", "--logprobs", "1").code == 3
    rows = read_rows(out)
    assert [row["answer"] for row in rows] == ["7", "no", "the number 7", None, None, None]
    assert [choice["text"] for choice in rows[0]["choices"]] == ["7", "8", "9"]
    assert [choice["text"] for choice in rows[2]["choices"]] == ["the number 7", "a tree"]
    assert rows[0]["logprobs"][0]["token"] == " 7"
    assert rows[0]["choices"][0]["probability"] == round(rows[0]["choices"][0]["probability"], 4)
    assert "'a tree' and 'A tree' read the same" in rows[3]["error"]
    assert "not a list of strings" in rows[4]["error"]
    assert "cannot be read" in rows[5]["error"]
    # The choices of a task are no extra field of its row.
    assert rows[1]["extra"] == {}
    # Alone, the same questions have the same answers and, up to rounding, the same figures.
    alone = tmp_path / "alone.jsonl"
    batch(tasks, "-o", alone, "--choices", "7,8,9", "--logprobs", "1", "--together", "1")
    for row, single in zip(rows[:3], read_rows(alone), strict=False):
        assert row["answer"] == single["answer"]
        for one, other in zip(row["choices"], single["choices"], strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=2e-4)
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)


def test_a_resumed_batch_asks_again_where_choices_or_scores_changed(tmp_path: Path) -> None:
    tasks = write_tasks(
        tmp_path, {"question": "Which number is {1}?"}, {"question": "Is {1} 7?", "choices": ["yes", "no"]}
    )
    out = tmp_path / "rows.jsonl"

    def kept(*arguments: str) -> int:
        done = batch(tasks, "-o", out, "--resume", "--json", *arguments)
        assert done.code == 0, done.err
        return int(json.loads(done.out)["kept"])

    assert kept() == 0
    assert kept() == 2
    # One of the tasks has choices of its own.
    assert kept("--choices", "7,8") == 1
    assert kept("--choices", "7,8") == 2
    assert kept("--choices", "7,8", "--score", "lift") == 0
    assert kept("--choices", "7,8", "--score", "lift", "--logprobs", "0") == 0
    # The score matters only where there are choices, and rows without them are as they were before.
    assert kept("--logprobs", "0") == 0
    assert kept("--logprobs", "0", "--score", "mean") == 1


def test_tables_have_a_column_of_choices(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path, {"question": "Which number is {1}?"})
    out = tmp_path / "rows.csv"
    assert batch(tasks, "-o", out, "--choices", "7,8").code == 0
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["answer"] == "7"
    assert [choice["text"] for choice in json.loads(row["choices"])] == ["7", "8"]
    assert row["logprobs"] == ""
    table = tmp_path / "tasks.csv"
    table.write_text(f'image,question,box,choices\n{SHAPES},Which number is {{1}}?,"{BOX}","6,7"\n')
    again = tmp_path / "again.csv"
    assert batch(table, "-o", again).code == 0
    with again.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [choice["text"] for choice in json.loads(row["choices"])] == ["6", "7"]


# --------------------------------------------------------------------------- Python


def test_python_chooses_too(model: vipcli.Model) -> None:
    box = vipcli.Box(*BOX.split(","))
    answer = model.ask(SHAPES, "Which number is {1}?", box, choices=["6", "7"], score="lift", logprobs=2)
    assert answer.text == "7"
    assert [choice.text for choice in answer.choices] == ["6", "7"]
    assert answer.choices[1].probability == answer.probability
    assert answer.choices[1].logprob_without_picture is not None
    assert len(answer.logprobs[0].top) == 2
    free = model.ask(SHAPES, "Which number is {1}?", box)
    assert (free.choices, free.logprobs) == ((), ())
    with pytest.raises(PromptError, match="read the same"):
        model.ask(SHAPES, "Which?", box, choices=["a", "A"])
    with pytest.raises(ConfigError, match="score is 'best'"):
        model.ask(SHAPES, "Which?", box, choices=["a", "b"], score="best")


def test_a_stream_of_choices_has_one_piece(model: vipcli.Model) -> None:
    stream = model.stream(SHAPES, "Which number is {1}?", f"box {BOX}", choices=["6", "7"])
    assert list(stream) == ["7"]
    assert stream.answer.text == "7"


def test_many_tasks_each_have_their_choices(model: vipcli.Model) -> None:
    tasks: list[dict[str, Any]] = [
        {"picture": SHAPES, "question": "Which number is {1}?", "marks": f"box {BOX}", "choices": ["7", "8"]},
        {"picture": SHAPES, "question": "Which number is {1}?", "marks": f"box {BOX}"},
        {"picture": SHAPES, "question": "Is {1} a letter?", "marks": f"box {BOX}", "choices": ("yes", "no")},
        {"picture": SHAPES, "question": "Which?", "choices": ["same", "Same"]},
    ]
    *answers, failure = model.ask_many(tasks, score="mean")
    assert [answer.text for answer in answers if not isinstance(answer, vipcli.Failure)] == ["7", "7", "no"]
    assert isinstance(failure, vipcli.Failure)
    assert "read the same" in str(failure.error)


def test_a_conversation_goes_on_after_a_choice(model: vipcli.Model) -> None:
    chat = model.chat(SHAPES, f"box {BOX}", score="mean")
    first = chat.ask("Which number is {1}?", choices=["7", "8"])
    assert (first.text, first.record()["score"]) == ("7", "mean")
    assert chat.ask("Is it odd or even?", choices=["odd", "even"]).text == "odd"
    assert chat.ask("What color is it?").text
    assert [turn.answer for turn in chat.turns][:2] == ["7", "odd"]


# --------------------------------------------------------------------------- the server


def test_requests_and_replies_cross_to_another_process() -> None:
    request = Request("Q", (), choices=("a", "b"), score="lift", top_logprobs=3)
    again = protocol.unpack_request(protocol.pack_request(request))
    assert (again.choices, again.score, again.top_logprobs) == (("a", "b"), "lift", 3)
    for wrong in ({"choices": ["a"] * 1001}, {"choices": [""]}, {"score": "best"}, {"top_logprobs": 21}):
        line, _, rest = protocol.pack_request(request).partition(b"\n")
        with pytest.raises(UsageError, match="cannot be read"):
            protocol.unpack_request(json.dumps({**json.loads(line), **wrong}).encode() + b"\n" + rest)


def test_a_reply_crosses_with_its_choices_and_tokens(model: vipcli.Model) -> None:
    reply = model.ask(SHAPES, "Which number?", choices=["6", "7"], score="lift", logprobs=2).reply
    assert protocol.unpack_reply(json.loads(json.dumps(protocol.pack_reply(reply)))) == reply


def test_the_server_gives_the_same_record(server: Server) -> None:
    options = ("--choices", "6,7,8", "--score", "lift", "--logprobs", "2", "--json")
    through = server.vipcli("ask", str(SHAPES), "Which number is {1}?", "--box", BOX, *options)
    assert through.returncode == 0, through.stderr
    record, alone = json.loads(through.stdout), json.loads(ran(*ASK, *options).out)
    assert record["answer"] == alone["answer"] == "7"
    assert [choice["logprob"] for choice in record["choices"]] == pytest.approx(
        [choice["logprob"] for choice in alone["choices"]], abs=1e-4
    )
    assert [len(token["top"]) for token in record["logprobs"]] == [2]


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.info["address"], api_key=TOKEN, max_retries=0)


def question(text: str = "Which number is {1}?") -> Any:
    url = f"data:image/png;base64,{base64.b64encode(SHAPES.read_bytes()).decode()}"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


MARKED = {"regions": [{"box": BOX}]}


def test_openai_s_client_gets_log_probabilities(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="bundled", messages=question(), logprobs=True, top_logprobs=4, extra_body=MARKED
    )
    (choice,) = completion.choices
    assert choice.message.content == "7"
    assert choice.logprobs is not None and choice.logprobs.content is not None
    (token,) = choice.logprobs.content
    assert token.token == " 7"
    assert token.bytes == list(b" 7")
    assert len(token.top_logprobs) == 4
    assert token.top_logprobs[0].logprob == token.logprob < 0
    without = client.chat.completions.create(
        model="bundled", messages=question(), logprobs=True, extra_body=MARKED
    )
    assert without.choices[0].logprobs is not None
    assert without.choices[0].logprobs.content is not None
    assert without.choices[0].logprobs.content[0].top_logprobs == []
    none = client.chat.completions.create(model="bundled", messages=question(), extra_body=MARKED)
    assert none.choices[0].logprobs is None


def test_openai_s_client_chooses_among_options(client: openai.OpenAI) -> None:
    extra = {**MARKED, "options": ["6", "7", "8"], "score": "mean"}
    completion = client.chat.completions.create(model="bundled", messages=question(), extra_body=extra)
    assert completion.choices[0].message.content == "7"
    assert completion.choices[0].finish_reason == "stop"
    vipcli_fields = completion.model_extra["vipcli"] if completion.model_extra else {}
    options = vipcli_fields["options"]
    assert [option["text"] for option in options] == ["6", "7", "8"]
    assert sum(option["probability"] for option in options) == pytest.approx(1)
    assert vipcli_fields["probability"] == options[1]["probability"]


def test_a_stream_ends_with_the_log_probabilities(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="bundled",
        messages=question(),
        stream=True,
        logprobs=True,
        top_logprobs=1,
        extra_body={**MARKED, "options": ["6", "7"]},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "7"
    tokens = [
        token
        for chunk in chunks
        if chunk.choices[0].logprobs is not None
        for token in chunk.choices[0].logprobs.content or []
    ]
    assert [token.token for token in tokens] == [" 7"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def read(**fields: Any) -> openai_api.ChatRequest:
    body = {"model": "bundled", "messages": question(), **MARKED, **fields}
    return openai_api.read_request(
        json.dumps(body).encode(), find("bundled"), max_pixels=10**8, max_tokens=100
    )


def test_the_fields_reach_the_request() -> None:
    request = read(options=["a", "b"], score="lift", logprobs=True, top_logprobs=0).request
    assert (request.choices, request.score, request.top_logprobs) == (("a", "b"), "lift", 0)
    plain = read(logprobs=False, top_logprobs=0).request
    assert (plain.choices, plain.score, plain.top_logprobs) == ((), "sum", None)


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"top_logprobs": 3}, UsageError, 'needs "logprobs": true'),
        ({"logprobs": True, "top_logprobs": 21}, UsageError, "invalid at 'top_logprobs'"),
        ({"options": ["a"]}, PromptError, "only one choice"),
        ({"options": []}, UsageError, "There are no choices"),
        ({"options": ["a", "A"]}, PromptError, "read the same"),
        ({"options": "a,b"}, UsageError, "invalid at 'options'"),
        ({"options": ["a"] * 1001}, UsageError, "invalid at 'options'"),
        ({"options": ["a", "b"], "stop": ["c"]}, UnsupportedFieldError, '"stop" has no meaning'),
        ({"options": ["a", "b"], "score": "best"}, ConfigError, "score is 'best'"),
        ({"options": ["a", "b"], "response_format": {"type": "json_object"}}, PromptError, "and a schema"),
        ({"score": "sum"}, UnsupportedFieldError, '"score" has no meaning without "options"'),
    ],
)
def test_fields_that_make_no_sense_are_refused(
    fields: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        read(**fields)


def test_log_probabilities_of_partial_characters_and_impossible_tokens(model: vipcli.Model) -> None:
    reply = model.ask(SHAPES, "Which number?", choices=["6", "7"], logprobs=0).reply
    odd = (TokenLogprob("\ufffd", 5, -1.0, (TokenLogprob("é", 6, -math.inf),)),)
    completion = openai_api.completion(
        read(logprobs=True), replace_logprobs(reply, odd), openai_api.ResponseId("chatcmpl-1", 1)
    )
    assert completion["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "\ufffd",
                "logprob": -1.0,
                "bytes": None,
                "top_logprobs": [{"token": "é", "logprob": -9999.0, "bytes": [195, 169]}],
            }
        ],
        "refusal": None,
    }
    json.dumps(completion, allow_nan=False)


def test_options_that_took_too_long_are_an_error(model: vipcli.Model) -> None:
    chat = read(options=["6", "7"])
    halted = model.ask(SHAPES, "Which number?", choices=["6", "7"], halted=lambda: True).reply
    response = openai_api.ResponseId("chatcmpl-1", 1)
    with pytest.raises(ModelError, match="nothing was chosen"):
        openai_api.completion(chat, halted, response)
    with pytest.raises(ModelError, match="nothing was chosen"):
        openai_api.last_chunk(chat, response, halted)
    assert openai_api.last_chunk(read(), response, halted)["choices"][0]["finish_reason"] == "length"


def replace_logprobs(reply: Reply, logprobs: tuple[TokenLogprob, ...]) -> Reply:
    return replace(reply, logprobs=logprobs)


def test_a_picture_as_an_array_is_asked_about(model: vipcli.Model) -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    answer = model.ask(white, "Is there a star in the picture?", choices=["yes", "no"])
    assert answer.text == "no"
