"""What every Python peer sends and answers, and what it sends as bytes when it has no types."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["QUESTION", "Answer", "Question", "Text"]

QUESTION = b'{"name":"ann","number":5}'


class Question(BaseModel):
    name: str
    number: int


class Answer(BaseModel):
    name: str
    number: int


class Text(BaseModel):
    text: str
