"""Full-text search in a folder of texts, and the form in which found passages are handed on."""

from marsys.search.index import FolderIndex
from marsys.search.passages import Passage, read_message, write_answer, write_passages
from marsys.search.toolbox import SearchToolbox

__all__ = ["FolderIndex", "Passage", "SearchToolbox", "read_message", "write_answer", "write_passages"]
