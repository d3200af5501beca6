"""Making tools: names, descriptions, timeouts, what is refused, and one tool for each function."""

from __future__ import annotations

import functools
import gc
import threading
import types
import weakref
from typing import Any

import pytest

from marsys_core.errors import ConfigError, ToolError
from marsys_core.models import ToolSpec
from marsys_core.tools import Tool, ToolContext, as_tool, tool


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    And say no more.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def fetch(url: str) -> str:
    return url


class Counter:
    def count(self, by: int) -> int:
        """Count."""
        return by

    @tool(timeout=3)
    def decorated(self, by: int) -> Counter:
        return self


class Lookup:
    def __init__(self, spec: Any) -> None:
        self.spec = spec

    async def call(self, arguments: Any, context: ToolContext) -> Any:
        return arguments


class Callable:
    def __call__(self, by: int) -> int:
        return by


PARTIAL = functools.partial(add, 1)
CALLABLE = Callable()
LOOKUP = ToolSpec("lookup", "Look it up.", {"type": "object"})


def test_a_bare_decorator_takes_name_and_description_from_the_function() -> None:
    made = tool(add)

    assert (made.name, made.description, made.timeout, made.is_async) == (
        "add",
        "Add two numbers.",
        None,
        False,
    )
    assert made.function is add
    assert repr(made) == "<Tool 'add'>"


def test_a_decorator_with_arguments_overrides_them() -> None:
    made = tool(name="plus", description="Sum.", timeout=1.5)(add)

    assert (made.name, made.description, made.timeout) == ("plus", "Sum.", 1.5)
    assert made.spec.name == "plus"
    assert made.spec.description == "Sum."


def test_the_spec_is_the_same_object_every_time() -> None:
    made = tool(add)

    assert made.spec is made.spec
    assert made.spec.parameters is made.parameters


def test_two_tools_of_one_function_share_its_schema() -> None:
    assert tool(add).parameters is tool(add, name="other").parameters


def test_an_async_function_is_known_as_one() -> None:
    assert tool(fetch).is_async


def test_calling_a_tool_calls_the_function_unchecked() -> None:
    assert tool(add)(1) == 3
    assert tool(add)("a", b="b") == "ab"


def test_a_decorated_method_binds_to_its_instance() -> None:
    counter = Counter()

    assert counter.decorated(by=1) is counter
    assert counter.decorated.bind({"by": 1}) == {"by": 1}
    assert counter.decorated.timeout == 3
    assert isinstance(Counter.decorated, Tool)


def test_a_static_or_a_class_method_is_a_tool_above_and_below_the_decorator() -> None:
    class Shelf:
        books = 3

        @tool
        @staticmethod
        async def above(by: int) -> int:
            """Stand alone."""
            return by

        @staticmethod
        @tool
        def below(by: int) -> int:
            return by

        @tool(timeout=2)
        @classmethod
        def of_class(cls, by: int) -> int:
            """Know the class."""
            return cls.books + by

    for holder in (Shelf, Shelf()):
        assert (holder.above.is_async, holder.below.is_async) == (True, False)
        assert holder.above.bind({"by": 1}) == holder.below.bind({"by": 1}) == {"by": 1}
        assert holder.below(by=1) == 1
        made = holder.of_class
        assert isinstance(made, Tool)
        assert (made(by=1), made.bind({"by": 1}), made.timeout) == (4, {"by": 1}, 2)
        assert (made.description, holder.above.description) == ("Know the class.", "Stand alone.")


def test_a_class_method_of_a_tool_says_what_to_write() -> None:
    turned = types.MethodType(tool(add), Counter)  # what @classmethod above @tool makes on newer Pythons

    with pytest.raises(ConfigError, match="; put @tool above @classmethod$"):
        tool(turned)


def test_a_method_has_a_tool_of_its_own_for_each_instance() -> None:
    one, other = Counter(), Counter()

    assert one.decorated.function.__self__ is one
    assert other.decorated.function.__self__ is other
    assert one.decorated.name == "decorated"


def test_arguments_that_can_only_be_named_are_taken_and_defaults_that_json_lacks_are_left() -> None:
    nothing = object()

    def find(text: str, *, within: Any = nothing, days: frozenset[int] = frozenset({1})) -> Any:
        return within

    made = tool(find)
    assert made.bind({"text": "a"}) == {"text": "a"}
    assert made(**made.bind({"text": "a"})) is nothing
    assert made.bind({"text": "a", "within": 3, "days": [2]}) == {
        "text": "a",
        "within": 3,
        "days": frozenset({2}),
    }
    assert made.parameters["required"] == ["text"]
    assert "default" not in made.parameters["properties"]["within"]


def test_a_tool_may_say_that_it_can_be_run_again() -> None:
    assert not tool(add).idempotent
    assert tool(idempotent=True)(add).idempotent
    assert not as_tool(Lookup(LOOKUP)).idempotent

    class Reader(Lookup):
        idempotent = True

    class Page:
        @tool(idempotent=True)
        def read(self) -> str:
            return "a"

    assert as_tool(Reader(LOOKUP)).idempotent
    assert Page().read.idempotent
    with pytest.raises(ConfigError) as caught:
        tool(add, idempotent=1)  # type: ignore[call-overload]
    assert caught.value.problems == ("idempotent should be True or False, not 1",)


@pytest.mark.parametrize(
    ("function", "isolation", "why"),
    [
        (add, "thread", "isolation should be 'process' or None, not 'thread'"),
        (lambda: 1, "process", "isolation='process' needs a function of a module, which is found by its name, not '<lambda>'"),
        (Counter().count, "process", "isolation='process' needs a function of a module: a method's object stays in its process"),
        (staticmethod(add), "process", "isolation='process' needs a function of a module: a method's object stays in its process"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_isolated_is_refused_where_it_is_defined(
    function: Any, isolation: Any, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(function, name="made", isolation=isolation)
    assert caught.value.problems == (why,)


def test_a_nested_function_or_one_of_the_program_itself_cannot_be_isolated() -> None:
    def nested(a: int) -> None: ...
    def started(a: int) -> None: ...

    started.__module__, started.__qualname__ = "__main__", "started"
    with pytest.raises(ConfigError, match=r"which is found by its name, not '[a-z_]+\.<locals>\.nested'$"):
        tool(isolation="process")(nested)
    with pytest.raises(
        ConfigError,
        match=r"cannot find 'started' in the program that was started: move it to a module of its own, and import it$",
    ):
        tool(started, isolation="process")


def test_a_function_under_a_wrapper_keeps_its_schema() -> None:
    @functools.cache
    def cached(a: int) -> int:
        return a

    assert tool(cached).bind('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (3, "a tool is made of a function, not of 3"),
        ("search", "a tool is made of a function, not of 'search'; write @tool(name='search')"),
        (Counter, f"a tool is made of a function, not of {Counter!r}; write a function that makes one"),
        (Lookup, f"a tool is made of a function, not of {Lookup!r}; pass an instance of it"),
        (PARTIAL, f"a tool is made of a function, not of {PARTIAL!r}; write a function around it"),
        (CALLABLE, f"a tool is made of a function, not of {CALLABLE!r}; write a function around it"),
        (len, "a tool is made of a function, not of <built-in function len>; write a function around it"),
    ],
)
def test_what_is_no_function_is_refused(thing: Any, text: str) -> None:
    for make in (tool, as_tool):
        with pytest.raises(ConfigError) as caught:
            make(thing)
        assert str(caught.value) == text


def test_a_tool_is_not_made_of_a_tool() -> None:
    with pytest.raises(
        ConfigError, match=r"^a tool is made of a function, not of <Tool 'add'>, which is one already$"
    ):
        tool(tool(add))


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "größe"])
def test_a_name_that_providers_refuse_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be made a tool:\n  - the name should be 1 to 64 of A-Z"):
        tool(add, name=name)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="not '<lambda>'; give it with name=$"):
        tool(lambda: 1)
    assert tool(lambda: 1, name="one").name == "one"


@pytest.mark.parametrize("timeout", [0, -1, True, "3", float("inf"), float("nan")])
def test_a_timeout_that_is_no_limit_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(add, timeout=timeout)
    assert caught.value.problems == (
        f"timeout should be a number of seconds above 0, or None, not {timeout!r}",
    )


def test_several_problems_of_a_decorator_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        tool(add, name="a b", timeout=0)
    assert len(caught.value.problems) == 2


def test_parameters_that_a_model_cannot_name_are_refused_on_first_use() -> None:
    def loose(a, /, *args, **kwargs): ...  # type: ignore[no-untyped-def]

    made = tool(loose)
    with pytest.raises(ConfigError) as caught:
        made.spec  # noqa: B018
    assert str(caught.value) == (
        "tool 'loose' has parameters that a model cannot fill:\n"
        "  - 'a' is positional-only: a model names each argument of a fixed list\n"
        "  - '*args' is variadic positional: a model names each argument of a fixed list\n"
        "  - '**kwargs' is variadic keyword: a model names each argument of a fixed list"
    )


def test_annotations_without_a_schema_are_refused_all_at_once() -> None:
    def broken(a: bytes, b: list[bytes], c: dict[int, str], d: Missing, e: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError) as caught:
        tool(broken).bind("{}")
    assert str(caught.value) == (
        "tool 'broken' has parameters that a model cannot fill:\n"
        "  - 'a' is annotated 'bytes', and bytes has no JSON Schema\n"
        "  - 'b' is annotated 'list[bytes]', and bytes has no JSON Schema\n"
        "  - 'c' is annotated 'dict[int, str]', and dict[int, str] has no JSON Schema: "
        "the keys of a JSON object are strings\n"
        "  - 'd' is annotated 'Missing', and 'Missing' has no JSON Schema: name 'Missing' is not defined"
    )


def test_generators_are_refused() -> None:
    def items() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (items, later):
        with pytest.raises(ConfigError, match="is a generator; return the whole result, for example a list$"):
            tool(function).spec  # noqa: B018


def test_the_context_is_found_by_its_annotation_and_left_out_of_the_schema() -> None:
    def plain(a: int, where: ToolContext) -> None: ...
    def optional(a: int, where: ToolContext | None = None) -> None: ...
    def hidden(a: int, where: tools.ToolContext) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (plain, optional, hidden):
        made = tool(function)
        assert made.context_parameter == "where"
        assert list(made.parameters["properties"]) == ["a"]
        with pytest.raises(ToolError, match=r"unknown 'where'"):
            made.bind({"a": 1, "where": None})


def test_the_context_is_found_by_a_live_annotation() -> None:
    def plain(where: Any) -> None: ...

    plain.__annotations__["where"] = ToolContext | None
    assert tool(plain).context_parameter == "where"


def test_the_context_is_found_by_its_name() -> None:
    def named(a: int, context: Any) -> None: ...
    def both(context: str, where: ToolContext) -> None: ...

    def argument(query: str, context: str = "") -> None: ...

    assert tool(named).context_parameter == "context"
    assert tool(argument).context_parameter is None
    assert list(tool(argument).parameters["properties"]) == ["query", "context"]
    assert tool(both).context_parameter == "where"
    assert list(tool(both).parameters["properties"]) == ["context"]
    assert tool(add).context_parameter is None


def test_as_tool_gives_the_same_tool_for_the_same_function() -> None:
    made = as_tool(add)

    assert as_tool(made) is made
    assert all(as_tool(add) is made for _ in range(100))


def test_as_tool_gives_the_same_tool_for_the_same_method_of_the_same_object() -> None:
    one, other = Counter(), Counter()
    made = as_tool(one.count)

    assert as_tool(one.count) is made
    assert as_tool(other.count) is not made
    assert as_tool(other.count).parameters is made.parameters
    assert list(made.parameters["properties"]) == ["by"]


def test_a_function_used_as_such_and_as_a_method_has_two_schemas() -> None:
    assert list(tool(Counter.count).parameters["properties"]) == ["self", "by"]
    assert list(tool(Counter().count).parameters["properties"]) == ["by"]


def test_as_tool_holds_nothing_that_nobody_else_holds() -> None:
    def short(a: int) -> None: ...

    gone = weakref.ref(short)
    as_tool(short).spec  # noqa: B018
    del short
    gc.collect()

    assert gone() is None


def test_as_tool_from_many_threads_makes_one_tool() -> None:
    made: list[Tool] = []
    threads = [threading.Thread(target=lambda: made.append(as_tool(add))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, made))) == 1


def test_a_class_based_tool_gets_its_arguments_whole_and_unchecked() -> None:
    lookup = Lookup(LOOKUP)
    made = as_tool(lookup)

    assert as_tool(lookup) is made
    assert (made.name, made.description, made.parameters) == ("lookup", "Look it up.", {"type": "object"})
    assert made.is_async
    assert made.context_parameter == "context"
    assert made.function == lookup.call
    assert made.bind('{"q": 1}') == {"arguments": {"q": 1}}
    with pytest.raises(ToolError, match="^lookup: the arguments should be a JSON object, not 3$"):
        made.bind("3")


def test_a_class_based_tool_with_a_wrong_spec_is_refused() -> None:
    with pytest.raises(ConfigError, match="should have a `spec` that is a ToolSpec, and an async method"):
        as_tool(Lookup({"name": "x"}))
    with pytest.raises(ConfigError, match="not 'a b'"):
        as_tool(Lookup(ToolSpec("a b", "", {})))


def test_none_is_no_tool_and_a_tool_is_said_to_be() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^a tool is a function, a Tool, or an object with a `spec` and an async `call`, not None$",
    ):
        as_tool(None)  # type: ignore[arg-type]


def test_what_cannot_be_shown_is_refused_as_anything_else_is() -> None:
    with pytest.raises(
        ConfigError, match=r"^a tool is made of a function, not of a whole number of 33220 bits$"
    ):
        as_tool(10**10000)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"not a whole number of 33220 bits$"):
        tool(add, name="add", timeout=-(10**10000))
    with pytest.raises(ConfigError, match=r"not 5; give it with name=$"):
        tool(add, name=5)  # type: ignore[call-overload]
    with pytest.raises(
        ToolError, match=r"^add: 'a' should be an integer, not <list whose repr raised ValueError>$"
    ):
        tool(add).bind({"a": [10**10000]})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"idempotent": True},
            "transactional=True is done once anyway, and idempotent=True may be done twice: leave out one",
        ),
        (
            {"verify": print},
            "transactional=True leaves no outcome unknown, so there is nothing for verify to find out",
        ),
        (
            {"isolation": "process"},
            "transactional=True writes through the context, which isolation='process' has not",
        ),
    ],
)
def test_a_transactional_tool_has_no_other_way_to_be_called_again(given, why):
    with pytest.raises(ConfigError) as caught:
        tool(add, transactional=True, **given)
    assert why in caught.value.problems


def test_transactional_is_true_or_false():
    with pytest.raises(ConfigError, match="transactional should be True or False, not 'yes'"):
        tool(add, transactional="yes")


def test_a_transactional_tool_has_a_parameter_for_the_context():
    made = tool(add, transactional=True)
    with pytest.raises(
        ConfigError,
        match=(
            r"^tool 'add' is transactional=True, and has no parameter for the ToolContext, whose `transaction` "
            r"it would write through; add one: context: ToolContext$"
        ),
    ):
        _ = made.spec


def test_a_class_based_tool_may_be_transactional():
    class Ledger:
        spec = ToolSpec("enter", "Enters a line.", {"type": "object"})
        transactional = True
        idempotent = False

        async def call(self, arguments, context):
            return "done"

    class Both(Ledger):
        idempotent = True

    assert as_tool(Ledger()).transactional
    with pytest.raises(
        ConfigError, match="cannot be made a tool:\n  - transactional=True is done once anyway"
    ):
        as_tool(Both())
