"""Answers by a schema on the command line, in a batch and from a server; several answers from a server."""

from __future__ import annotations

import base64
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from starlette.testclient import TestClient

from tests.commands import Ran, run
from vipcli.checkpoints import lookup
from vipcli.engine.local import LocalModel
from vipcli.serving.http_app import AccessRules, ModelService, RequestLimits
from vipcli.serving.scheduler import Scheduler

SAMPLES = Path(__file__).parent.parent / "samples"
QUESTION = ("What color is {1}?", "--box", "30%,30%,70%,70%")
SCHEMA = "color: red|blue, sure?: bool"


def ask(*arguments: str) -> Ran:
    return run("ask", SAMPLES / "shapes.png", *QUESTION, *arguments)


def test_the_answer_is_json_on_one_line() -> None:
    ran = ask("--schema", SCHEMA)
    assert ran.code == 0
    assert json.loads(ran.out)["color"] in ("red", "blue")
    assert ran.out.count("\n") == 1


def test_the_record_has_the_fields_and_the_schema() -> None:
    record = json.loads(ask("--schema", SCHEMA, "--json").out)
    assert record["fields"] == json.loads(record["answer"])
    assert record["ended"] == "stop"
    assert record["schema"]["properties"]["color"] == {"enum": ["red", "blue"]}
    assert "fields" not in json.loads(ask("--json").out)


def test_log_probabilities_are_among_what_the_schema_allows() -> None:
    record = json.loads(ask("--schema", SCHEMA, "--json", "--logprobs", "3").out)
    assert [token["id"] for token in record["logprobs"]] == record["token_ids"][: len(record["logprobs"])]
    assert "".join(token["token"] for token in record["logprobs"]).strip() == record["answer"]
    # Most tokens are the only ones that fit.
    assert any(token["top"][1]["logprob"] is None for token in record["logprobs"])


def test_a_pattern() -> None:
    record = json.loads(ask("--pattern", "(red|blue)!", "--json").out)
    assert record["answer"] in ("red!", "blue!")
    assert (record["pattern"], "fields" in record) == ("(red|blue)!", False)


def test_half_an_answer_is_an_error() -> None:
    ran = ask("--schema", "text: str", "--max-new-tokens", "6")
    assert (ran.code, ran.out) == (1, "")
    assert "The answer was cut off after 6 tokens, so it is not whole JSON. Raise --max-new-tokens" in ran.err
    ran = ask("--schema", "text: str", "--max-new-tokens", "6", "--json")
    record = json.loads(ran.out)
    assert (record["fields"], record["ended"]) == (None, "length")
    assert "cut off" in ran.err


def test_a_wrong_schema_is_refused_before_a_model_is_loaded() -> None:
    ran = ask("--schema", "color: rad")
    assert ran.code == 2
    assert "The schema has no type 'rad'." in ran.err


# ---------------------------------------------------------------------- batch


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("shapes", "fruit"):
        shutil.copy(SAMPLES / f"{name}.png", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)


def batch(file: str, *arguments: str, schema: str = SCHEMA) -> Ran:
    question, *mark = QUESTION
    return run("batch", "photos", "--question", question, *mark, "--schema", schema, "-o", file, *arguments)


@pytest.mark.usefixtures("photos")
def test_fields_become_columns() -> None:
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert batch(name).code == 0
    objects = [json.loads(line)["fields"] for line in Path("a.jsonl").read_text().splitlines()]
    assert all(fields["color"] in ("red", "blue") for fields in objects)
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        (fields["color"], json.dumps(fields["sure"]) if "sure" in fields else "") for fields in objects
    ]
    assert [(row["field.color"], row["field.sure"]) for row in rows] == expected
    table = parquet.read_table("a.parquet").to_pylist()
    assert [(row["field.color"], row["field.sure"] or "") for row in table] == expected


@pytest.mark.usefixtures("photos")
def test_a_batch_resumes_with_the_same_schema_only() -> None:
    assert batch("a.csv").code == batch("a.jsonl").code == 0
    assert "2 rows were there" in batch("a.csv", "--resume").err or "kept" in batch("a.csv", "--resume").err
    refused = batch("a.csv", "--resume", schema="color: red|blue")
    assert refused.code != 0
    assert "does not contain rows with these columns" in refused.err
    changed = batch("a.jsonl", "--resume", "--json", schema="color: green|blue")
    assert json.loads(changed.out)["answered"] == json.loads(changed.out)["outdated"] == 2


@pytest.mark.usefixtures("photos")
def test_an_answer_that_is_cut_off_has_no_fields_in_its_row() -> None:
    batch("a.jsonl", "--max-new-tokens", "4")
    rows = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert [(row["fields"], row["ended"]) for row in rows] == [(None, "length")] * 2
    assert all("cut off after 4 tokens" in " ".join(row["notes"]) for row in rows)


# ---------------------------------------------------------------------- server


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    scheduler = Scheduler(LocalModel(lookup.find("bundled")), max_waiting=16, max_batch=8)
    service = ModelService(scheduler, lookup.find("bundled"), {}, RequestLimits())
    app = service.app(AccessRules("token", frozenset()))
    with TestClient(app, headers={"authorization": "Bearer token"}) as client:
        yield client


def body(**fields: Any) -> dict[str, Any]:
    picture = base64.b64encode((SAMPLES / "shapes.png").read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": "What color is {1}?"},
    ]
    message = {"role": "user", "content": content}
    return {"model": "bundled", "messages": [message], "regions": [{"box": "30%,30%,70%,70%"}], **fields}


def post(client: TestClient, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/chat/completions", json=body(**fields))
    parsed: dict[str, Any] = response.json()
    assert response.status_code == 200, parsed
    return parsed


def json_schema(**schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}


def test_a_server_answers_by_a_schema(client: TestClient) -> None:
    words = {"type": "object", "properties": {"c": {"enum": ["red", "blue"]}}, "required": ["c"]}
    (choice,) = post(client, response_format=json_schema(**words))["choices"]
    assert json.loads(choice["message"]["content"])["c"] in ("red", "blue")
    assert choice["finish_reason"] == "stop"
    (choice,) = post(client, response_format={"type": "json_object"})["choices"]
    assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["message"]["content"]), dict)
    (choice,) = post(client, response_format={"type": "text"})["choices"]
    assert not choice["message"]["content"].startswith("{")


def test_an_answer_of_a_server_that_is_cut_off_says_so(client: TestClient) -> None:
    answered = post(client, response_format=json_schema(type="string", minLength=50), max_tokens=5)
    assert answered["choices"][0]["finish_reason"] == "length"
    assert any("not whole JSON" in note for note in answered["vipcli"]["notes"])


def test_a_stop_ends_an_answer_by_a_schema_too(client: TestClient) -> None:
    fields = {"response_format": json_schema(const={"a": 1, "b": 2}), "stop": ", "}
    (choice,) = post(client, **fields)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a": 1', "stop")


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ({"type": "grammar"}, "The response format 'grammar' is not supported here"),
        ({"type": "json_schema"}, "The response format 'json_schema' is not supported here, or lacks"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, "The response format 'json_object' is"),
        ({"type": "text", "grammar": "x"}, "The request is invalid at 'response_format.grammar'"),
        (json_schema(type="array", uniqueItems=True), "The schema cannot be used: Unimplemented"),
        (json_schema(type="poem"), "The schema cannot be used: Invalid type: poem."),
    ],
)
def test_other_formats_are_refused_by_name(
    client: TestClient, response_format: dict[str, Any], message: str
) -> None:
    response = client.post("/v1/chat/completions", json=body(response_format=response_format))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


def test_several_answers_have_seeds_of_their_own(client: TestClient) -> None:
    sampling = {"temperature": 5.0, "max_tokens": 6, "seed": 7}
    answered = post(client, n=3, **sampling)
    texts = [choice["message"]["content"] for choice in answered["choices"]]
    assert [choice["index"] for choice in answered["choices"]] == [0, 1, 2]
    alone = [post(client, **{**sampling, "seed": 7 + index}) for index in range(3)]
    assert texts == [one["choices"][0]["message"]["content"] for one in alone]
    assert len(set(texts)) > 1
    tokens = [one["usage"]["completion_tokens"] for one in alone]
    assert answered["usage"]["completion_tokens"] == sum(tokens)
    assert answered["usage"]["prompt_tokens"] == alone[0]["usage"]["prompt_tokens"]
    assert len(answered["vipcli"]["probabilities"]) == 3


def test_greedy_answers_are_all_the_same(client: TestClient) -> None:
    first, second = post(client, n=2)["choices"]
    assert first["message"] == second["message"]
    assert (first["index"], second["index"]) == (0, 1)


@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_several_answers_are_streamed(client: TestClient, temperature: float) -> None:
    fields = {"n": 2, "temperature": temperature, "max_tokens": 6, "seed": 3}
    whole = [choice["message"]["content"] for choice in post(client, **fields)["choices"]]
    request = body(**fields, stream=True, stream_options={"include_usage": True})
    lines = client.post("/v1/chat/completions", json=request).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == whole
    assert sum(bool(choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]) == 2
    assert chunks[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("number", [0, 9, 1.5])
def test_a_number_of_answers_that_cannot_be_is_refused(client: TestClient, number: float) -> None:
    response = client.post("/v1/chat/completions", json=body(n=number))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("The request is invalid at 'n'")
