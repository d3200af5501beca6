import runpy

import pytest
import trio
import trio.testing

from tests.examples.programs import EXAMPLES, run

PRINTED = ["WHY", "WHY IS THAT", "no answer within 1 s"]


@pytest.mark.slow
def test_the_runs_answer_and_the_one_with_a_deadline_is_given_up():
    # On a machine that stands still for a moment, the order may be another.
    assert sorted(run("-W", "error", "trio_program.py").splitlines()) == sorted(PRINTED)


def test_the_runs_go_side_by_side_and_answer_in_the_order_of_their_length(capsys):
    main = runpy.run_path(str(EXAMPLES / "trio_program.py"))["main"]

    async def timed():
        began = trio.current_time()
        await main()
        return trio.current_time() - began

    assert trio.run(timed, clock=trio.testing.MockClock(autojump_threshold=0)) == pytest.approx(1)
    assert capsys.readouterr().out.splitlines() == PRINTED
