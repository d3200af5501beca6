import pytest

from marsys.models.situation import read_request
from marsys.search.passages import Passage, write_answer, write_passages
from marsys_core.messages import Message, ToolCall
from marsys_core.models import ModelRequest, ToolSpec

QUOTE = Passage(source="a.txt", first=1, last=1, text="The canal is long.")
BLOCK = write_passages([QUOTE])
ANSWER = write_answer("Why a canal?", [QUOTE])


def user(text):
    return Message("user", text)


def read(*messages, system="", tools=()):
    return read_request(ModelRequest(messages=messages, system=system, tools=tools))


def tool(name, parameters):
    return ToolSpec(name, "", {"type": "object", "properties": parameters})


@pytest.mark.parametrize(
    ("messages", "system", "question"),
    [
        ([user("Why?")], "", "Why?"),
        ([user(f"Question: Why?\n{BLOCK}")], "Question: How?", "Why?"),
        ([user("How?"), user("Why?")], "", "Why?"),
        ([user(f"Why?\n\n{BLOCK}")], "", "Why?"),
        ([user("Why?"), Message("assistant", "Because."), user(BLOCK)], "", "Why?"),
        ([user(BLOCK)], "Read.\nQuestion: How?", "How?"),
        ([user(ANSWER)], "", "Why a canal?"),
        ([user(f"[from R1 (branch 0.0)]\n{ANSWER}")], "Question: How?", "Why a canal?"),
        ([user("Why?"), Message("assistant", ""), user(f"[from R1]\n{ANSWER}")], "", "Why?"),
        ([user("[from R1]\nSome text.")], "Question: How?", "How?"),
        ([user("")], "", ""),
        ([], "", ""),
    ],
)
def test_the_question_is_found(messages, system, question):
    assert read(*messages, system=system).question == question


def test_texts_of_tools_and_messages_are_gathered():
    found = read(
        user(f"Why?\n\n{BLOCK}"),
        Message("assistant", tool_calls=(ToolCall("1", "fetch"),)),
        Message("tool", "The lock\nis deep.", tool_call_id="1", name="fetch"),
        Message("tool", "Not found.", tool_call_id="2", name="fetch", is_error=True),
    )
    assert [each.place for each in found.passages] == ["a.txt, line 1", "fetch, lines 1-2"]
    assert (found.answered, found.incomplete) == (True, True)


def test_results_of_an_earlier_question_are_not_used_again():
    found = read(
        user("Why?"), Message("tool", BLOCK, name="search"), Message("assistant", ANSWER), user("How?")
    )
    assert (found.question, found.passages, found.answered) == ("How?", [], False)


def test_text_after_a_question_serves_where_nothing_has_a_source():
    found = read(user("Question: Why?\n\nThe canal is long."))
    assert [(each.place, each.text) for each in found.passages] == [("message, line 1", "The canal is long.")]
    found = read(user(f"Question: Why?\n\nBe brief.\n\n{BLOCK}"))
    assert [each.place for each in found.passages] == ["a.txt, line 1"]


def test_answers_of_other_agents_are_texts():
    found = read(user(f"[from R1 (branch 0.0)]\n{ANSWER}\n\n[from R2 (branch 0.1)]\nThe lock is deep."))
    assert [each.place for each in found.passages] == ["a.txt, line 1", "R2 (branch 0.1), line 1"]
    assert found.answered


@pytest.mark.parametrize("role", ["user", "tool"])
def test_a_failure_of_another_agent_is_no_text(role):
    text = f"[from R1 (branch 0.0)]\n{ANSWER}\n\n[from R2 (branch 0.1)]\nfailed: ToolError: the canal"
    found = read(user("Why?"), Message(role, text))
    assert [each.source for each in found.passages] == ["a.txt"]
    assert (found.question, found.answered, found.incomplete) == ("Why?", True, True)


def test_what_follows_an_invocation_is_an_answer_and_no_question():
    invoked = Message("assistant", tool_calls=(ToolCall("1", "invoke_agent"),))
    found = read(user("Why?"), invoked, user("The canal is long."))
    assert (found.question, found.answered) == ("Why?", True)
    assert [each.text for each in found.passages] == ["The canal is long."]


@pytest.mark.parametrize(
    ("specs", "name"),
    [
        ([tool("add", {"a": {"type": "number"}}), tool("search", {"query": {"type": "string"}})], "search"),
        ([tool("count", {"query": {"type": "integer"}})], ""),
        (
            [
                ToolSpec(
                    "sql",
                    "",
                    {"properties": {"query": {"type": "string"}}, "required": ["query", "database"]},
                )
            ],
            "",
        ),
        ([ToolSpec("none", "", {})], ""),
    ],
)
def test_a_retrieval_tool_takes_a_query_and_needs_nothing_else(specs, name):
    assert read(user("Why?"), tools=specs).retrieval == name


def test_agents_that_may_be_invoked_are_read_from_the_schema_without_the_person():
    items = {"type": "object", "properties": {"agent_name": {"enum": ["R2", "user", "R1"]}, "request": {}}}
    spec = tool("invoke_agent", {"invocations": {"type": "array", "items": items}})
    assert read(user("Why?"), tools=[spec, tool("finish", {})]).agents == ("R2", "R1")
