import pytest
import trio
import trio.testing

from marsys.models import ScriptedModel
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.models import FinishReason, Model, ModelRequest, ModelResponse, collect

REQUEST = ModelRequest(messages=[Message("user", "Hello there")])
CALL = ToolCall("1", "search", "{}")


def test_it_is_a_model():
    assert isinstance(ScriptedModel(), Model)
    assert ScriptedModel(name="writer").name == "writer"


def test_replies_come_in_order_and_requests_are_kept():
    made = ModelResponse(content="three", model="other", usage=Usage(7, 8))
    model = ScriptedModel(["one", CALL, [CALL, CALL], made])

    async def main():
        return [await model.generate(REQUEST) for _ in range(4)]

    one, two, several, three = trio.run(main)
    assert (one.text, one.model, one.finish_reason) == ("one", "scripted", FinishReason.STOP)
    assert (two.tool_calls, two.finish_reason) == ((CALL,), FinishReason.TOOL_CALLS)
    assert several.tool_calls == (CALL, CALL)
    assert (three.text, three.model, three.usage) == ("three", "other", Usage(7, 8))
    assert one.usage == Usage(input_tokens=2, output_tokens=1, model_calls=1)
    assert [list(asked.messages) for asked in model.history] == [list(REQUEST.messages)] * 4
    assert model.remaining == 0


def test_a_response_is_not_changed_by_being_given():
    made = ModelResponse(content="three")
    trio.run(ScriptedModel([made]).generate, REQUEST)
    assert (made.model, made.usage) == ("", Usage())


def test_one_text_is_one_reply():
    model = ScriptedModel("hello")
    assert trio.run(model.generate, REQUEST).text == "hello"


def test_exceptions_are_raised():
    error = ModelError("busy", kind=ModelErrorKind.OVERLOADED)
    with pytest.raises(ModelError) as caught:
        trio.run(ScriptedModel([error]).generate, REQUEST)
    assert caught.value is error


def test_a_function_answers_the_request():
    model = ScriptedModel(lambda request: request.messages[-1].text.upper())
    assert trio.run(model.generate, REQUEST).text == "HELLO THERE"
    assert [list(asked.messages) for asked in model.history] == [list(REQUEST.messages)]


def test_a_function_in_the_list_answers_the_call_that_it_comes_to():
    model = ScriptedModel(["one", lambda request: request.messages[-1].text.upper(), lambda request: CALL])

    async def main():
        return [await model.generate(REQUEST) for _ in range(3)]

    one, two, three = trio.run(main)
    assert (one.text, two.text, three.tool_calls) == ("one", "HELLO THERE", (CALL,))
    assert model.remaining == 0


def test_running_out_is_an_error_that_says_how_many_there_were():
    model = ScriptedModel(["one"], name="writer")

    async def main():
        await model.generate(REQUEST)
        await model.generate(REQUEST)

    expected = r"^the model 'writer' has no reply left for call 2: its script has 1; give it more, as in ScriptedModel\(\['one', 'two'\]\), or a function that answers every call, as in ScriptedModel\(lambda request: 'one'\)$"
    with pytest.raises(ModelError, match=expected) as caught:
        trio.run(main)
    assert not caught.value.retryable


def test_a_call_takes_the_delay_it_was_given():
    async def main():
        start = trio.current_time()
        await ScriptedModel(["one"], delay=3).generate(REQUEST)
        return trio.current_time() - start

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == 3


def test_a_call_yields_to_the_scheduler_also_when_it_raises():
    async def main():
        model = ScriptedModel(["one"])
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                try:
                    await model.generate(REQUEST)
                except ModelError as error:
                    last = error
        return last

    assert "no reply left" in str(trio.run(main))


def test_a_stream_adds_up_to_the_reply():
    async def main():
        model = ScriptedModel([" one  two\nthree", ""])
        deltas = [delta async for delta in model.stream(REQUEST)]
        assert [delta.text for delta in deltas if delta.text] == [" ", "one  ", "two\n", "three"]
        assert deltas[-1].response.text == " one  two\nthree"
        assert (await collect(model.stream(REQUEST))).text == ""

    trio.run(main)


def test_what_it_was_asked_stays_after_a_step_that_failed():
    model = ScriptedModel(["one"])

    async def main():
        said = [Message("user", "said")]
        await model.generate(ModelRequest(messages=said))
        said.clear()

    trio.run(main)

    assert [message.content for message in model.history[0].messages] == ["said"]
