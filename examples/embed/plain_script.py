"""A plain script: no event loop in sight, and a run is a call.

pip install marsys-core && python plain_script.py
"""

from marsys import Agent, ExecutionConfig, Orchestra, tool

ALMANAC = [
    "The sea is salt because rivers carry minerals from the rocks into it.",
    "The tide follows the moon, and comes an hour later each day.",
    "A harbour of nine metres takes most ships.",
]


@tool
def look_up(query: str) -> str:
    """Find the lines of the almanac that have a word of the query.

    Args:
        query: The words, with spaces between them.
    """
    words = query.lower().split()
    return "\n".join(line for line in ALMANAC if any(word in line.lower() for word in words))


# This model quotes what its tools found. It needs no network; put your own in its place.
READER = Agent("Reader", model="extractive", instruction="Look it up.", tools=[look_up])


def main():
    limits = ExecutionConfig(timeout=30)
    result = Orchestra.run_sync("Why is the sea salt?", "Reader", agents=[READER], execution_config=limits)
    print(result.unwrap())


if __name__ == "__main__":
    main()
