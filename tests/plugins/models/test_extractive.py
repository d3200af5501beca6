import json
from pathlib import Path

import pytest
import trio
import trio.testing

from marsys.models import ExtractiveModel
from marsys.models.tokens import count_tokens
from marsys.search import FolderIndex, Passage, SearchToolbox, read_message, write_answer, write_passages
from marsys.search.passages import FRAME, INCOMPLETE, NO_SUBJECT, NO_TEXTS, NOTHING_FOUND
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import Message
from marsys_core.models import FinishReason, Model, ModelRequest, Sampling, ToolSpec, collect

LIBRARY = Path(__file__).parents[3] / "examples" / "library"
QUESTION = "Why should the United States build and defend a canal across the Isthmus of Panama?"
SEARCH = ToolSpec("search", "", {"properties": {"query": {"type": "string"}}, "required": ["query"]})
INVOKE = ToolSpec(
    "invoke_agent",
    "",
    {
        "properties": {
            "invocations": {
                "type": "array",
                "items": {
                    "properties": {"agent_name": {"enum": ["R1", "R2", "R3"]}, "request": {"type": "string"}}
                },
            }
        }
    },
)
FOUND = Message(
    "tool",
    write_passages([Passage(source="a.txt", first=3, last=4, text="The canal joins two seas.\nIt is long.")]),
    name="search",
)


def ask(*messages, tools=(), model=None, **more):
    model = model or ExtractiveModel()
    return trio.run(model.generate, ModelRequest(messages=messages, tools=tools, **more))


def test_it_is_a_model():
    model = ExtractiveModel()
    assert isinstance(model, Model)
    assert (model.name, model.capabilities.tools, model.capabilities.output_schema) == (
        "extractive",
        True,
        False,
    )


def test_it_first_searches_for_the_keywords_of_the_question():
    response = ask(Message("user", "Why is the canal so long?"), tools=[SEARCH, INVOKE])
    (call,) = response.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("search", {"query": "canal long"})
    assert (response.finish_reason, response.text) == (FinishReason.TOOL_CALLS, "")


def test_it_then_quotes_what_was_found_with_its_place():
    response = ask(Message("user", "What does the canal join?"), FOUND, tools=[SEARCH])
    assert response.text == (
        f"Question: What does the canal join?\n\nThe canal joins two seas. [1]\n\nSources:\n[1] a.txt, line 3\n\n{FRAME}"
    )
    assert (response.tool_calls, response.finish_reason) == ((), FinishReason.STOP)
    assert response.usage.output_tokens == count_tokens(response.text)


def test_it_says_when_nothing_answers():
    response = ask(Message("user", "What do pancakes cost?"), FOUND, tools=[SEARCH])
    assert response.text == f"Question: What do pancakes cost?\n\n{NOTHING_FOUND}"


@pytest.mark.parametrize("question", ["What do pancakes cost?", "What is it?"])
@pytest.mark.parametrize(
    "rest",
    [
        (),
        (Message("assistant", "Well."), Message("user", f"[from R1]\nQuestion: Why?\n\n{NO_TEXTS}")),
        (Message("tool", "", name="fetch"),),
    ],
    ids=["alone", "told so", "empty"],
)
def test_it_says_when_there_are_no_texts(question, rest):
    assert ask(Message("user", question), *rest).text == f"Question: {question}\n\n{NO_TEXTS}"


@pytest.mark.parametrize("found", [FOUND, Message("tool", write_passages([]), name="search")])
def test_it_says_when_a_question_has_only_stop_words(found):
    response = ask(Message("user", "What is it?"), found, tools=[SEARCH])
    assert response.text == f"Question: What is it?\n\n{NO_SUBJECT}"
    reply = Message("user", f"[from R1 (branch 0.0)]\n{response.text}")
    assert ask(reply).text == response.text


def test_blocks_of_a_page_are_quoted_one_by_one(tmp_path):
    (tmp_path / "a.html").write_text(
        "<title>Koalas</title><h1>Koalas</h1><p>The koala sleeps\nall day</p>\n"
        "<ul><li>Pears cost 4 euros</li>\n<li>Apples cost 3 euros</li></ul><p>Something else.</p>"
    )
    quotes = []
    with FolderIndex.open(tmp_path) as index:
        (search,) = SearchToolbox(index).tools()
        for question in ("How much do pears cost?", "When does the koala sleep all day?"):
            found = Message("tool", search(query=question), name="search")
            answer = read_message(ask(Message("user", question), found).text)
            quotes.append([(each.place, each.text) for each in answer.passages])
    assert quotes == [
        [("a.html, line 3", "Pears cost 4 euros"), ("a.html, line 4", "Apples cost 3 euros")],
        [("a.html, lines 1-2", "The koala sleeps all day")],
    ]


def test_the_remark_of_a_search_that_found_nothing_is_not_quoted():
    response = ask(
        Message("user", "Which passage has these words?"), Message("tool", write_passages([])), tools=[SEARCH]
    )
    assert response.text.endswith(NOTHING_FOUND)


def test_it_says_when_a_search_failed_and_does_not_try_again():
    failed = Message("tool", "ToolError: the canal index is closed", name="search", is_error=True)
    response = ask(Message("user", "What does the canal join?"), failed, tools=[SEARCH])
    assert response.text == f"Question: What does the canal join?\n\n{NOTHING_FOUND}\n{INCOMPLETE}"


def test_a_coordinator_invokes_every_agent_once_and_then_answers():
    task = Message("user", "What does the canal join?")
    first = ask(task, tools=[INVOKE])
    (call,) = first.tool_calls
    assert json.loads(call.arguments) == {
        "invocations": [
            {"agent_name": name, "request": "What does the canal join?"} for name in ("R1", "R2", "R3")
        ]
    }
    quote = Passage(source="a.txt", first=3, last=3, text="The canal joins two seas.")
    reply = f"[from R1 (branch 0.0)]\n{write_answer('What does the canal join?', [quote])}"
    invoked = Message("assistant", tool_calls=first.tool_calls)
    for conversation in (
        [task, invoked, Message("tool", reply, tool_call_id=call.id)],
        [task, invoked, Message("user", reply)],
        [Message("user", reply)],
    ):
        second = ask(*conversation, tools=[INVOKE])
        assert second.tool_calls == ()
        assert [each.place for each in read_message(second.text).passages] == ["a.txt, line 3"]


@pytest.mark.parametrize("messages", [[], [Message("user", "")], [Message("user", "???")]])
def test_a_request_without_a_question_is_a_bad_one(messages):
    with pytest.raises(
        ModelError, match="^the question '.*' has no words: put it in the last user message"
    ) as caught:
        ask(*messages)
    assert caught.value.kind is ModelErrorKind.BAD_REQUEST
    assert not caught.value.retryable


def test_an_answer_is_shortened_as_asked():
    messages = [Message("user", "What does the canal join?"), FOUND]
    short = ask(*messages, sampling=Sampling(max_output_tokens=5))
    assert (short.text, short.finish_reason) == ("Question: What does the", FinishReason.LENGTH)
    assert ask(*messages, sampling=Sampling(stop=("\n\nSources",))).text.endswith(
        "The canal joins two seas. [1]"
    )


def test_it_quotes_no_more_sentences_than_it_may():
    texts = [
        Passage(source=f"{n}.txt", first=1, last=1, text=f"The canal joins sea number {n}.") for n in range(9)
    ]
    messages = [Message("user", "What does the canal join?"), Message("tool", write_passages(texts))]
    response = ask(*messages, model=ExtractiveModel(sentences=1))
    assert len(read_message(response.text).passages) == 1


def test_a_stream_adds_up_to_the_answer():
    request = ModelRequest(messages=[Message("user", "What does the canal join?"), FOUND])

    async def main():
        model = ExtractiveModel()
        deltas = [delta async for delta in model.stream(request)]
        whole = await model.generate(request)
        assert "".join(delta.text for delta in deltas) == deltas[-1].response.text == whole.text
        assert [delta.response for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert (await collect(model.stream(request))).usage == whole.usage

    trio.run(main)


def test_generate_and_stream_are_checkpoints():
    request = ModelRequest(messages=[Message("user", "Why?")])

    async def main():
        with trio.testing.assert_checkpoints():
            await ExtractiveModel().generate(request)
        with trio.CancelScope() as scope:
            scope.cancel()
            await ExtractiveModel().generate(request)
        assert scope.cancelled_caught

    trio.run(main)


@pytest.mark.slow
def test_three_readers_and_a_writer_answer_from_the_library():
    async def read(model, tool):
        messages = [Message("user", QUESTION)]
        searching = await model.generate(ModelRequest(messages=messages, tools=[tool.spec]))
        (call,) = searching.tool_calls
        found = Message("tool", tool(**tool.bind(call.arguments)), tool_call_id=call.id, name=tool.name)
        messages += [Message("assistant", tool_calls=searching.tool_calls), found]
        return (await model.generate(ModelRequest(messages=messages, tools=[tool.spec]))).text

    async def main():
        model = ExtractiveModel()
        with FolderIndex.open(LIBRARY) as index:
            readers = SearchToolbox(index, parts=3).tools()[1:]
            answers = [await read(model, tool) for tool in readers]
        parts = [f"[from Reader{n} (branch 0.{n})]\n{answer}" for n, answer in enumerate(answers)]
        return (await model.generate(ModelRequest(messages=[Message("user", "\n\n".join(parts))]))).text

    answer = read_message(trio.run(main))
    assert answer.question == QUESTION
    assert 4 <= len(answer.passages) <= 8
    assert len({each.source for each in answer.passages}) >= 3
    for each in answer.passages:
        lines = (LIBRARY / each.source).read_text(encoding="utf-8").split("\n")[each.first - 1 : each.last]
        assert each.text in " ".join(" ".join(lines).split())
        assert "canal" in each.text.lower() or "isthmus" in each.text.lower()


@pytest.mark.slow
def test_two_hundred_kilobytes_take_less_than_a_second():
    text = write_passages(
        Passage(source=f"{n}.txt", first=1, last=1, text=f"The canal number {n} joins a sea. " * 8)
        for n in range(700)
    )
    assert len(text) > 190_000
    with_limit = trio.fail_after

    async def main():
        with with_limit(1):
            request = ModelRequest(
                messages=[Message("user", "What does the canal join?"), Message("tool", text)]
            )
            await ExtractiveModel().generate(request)
            await trio.lowlevel.checkpoint()

    trio.run(main)
