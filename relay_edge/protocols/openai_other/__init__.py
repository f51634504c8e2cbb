"""What OpenAI's family of hosts does besides conversations: its bytes pass, its usage is read."""

from relay_edge.protocols.openai_other.operations import MADE, OPERATIONS
from relay_edge.protocols.openai_other.usage import read_usage
from relay_edge.protocols.openai_other.watch import AnswerWatch

__all__ = ["MADE", "OPERATIONS", "AnswerWatch", "read_usage"]
