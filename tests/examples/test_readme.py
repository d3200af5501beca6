import re

from tests.examples.programs import EXAMPLES


def test_the_readme_leads_to_every_program_and_to_nothing_else():
    rows = [line for line in (EXAMPLES / "README.md").read_text("utf-8").splitlines() if line.startswith("|")]
    linked = re.findall(r"\]\((\S+)\)", "\n".join(rows))
    programs = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")]

    assert sorted(linked) == sorted(programs)
